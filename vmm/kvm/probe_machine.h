// The throw-away machine of the host probe: a few pages with two views of themselves, as the ring3 platform's
// monitor has them, and the guest code in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/mapping.h"
#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/probe_layout.h"

namespace hmvm {

struct ProbeException {
  uint64_t seen;  // 0x100 and the vector; 0: none came
  uint64_t code;
  uint64_t at;
  uint64_t from_cs;
  uint64_t handler_cs;
  uint64_t address;  // cr2
};

// The page that the guest program writes.
struct ProbeResults {
  uint64_t step;
  uint64_t record;
  uint64_t resume;
  uint64_t gate_root;
  struct {
    uint64_t rax, rip, cs, rflags, rsp, ss;
  } gate_frame;
  uint64_t gate_view;
  uint64_t frame;
  uint64_t gate_cs;
  uint64_t gate_done;
  uint64_t syscall_cs;
  uint64_t syscall_rcx;
  uint64_t syscall_r11;
  uint64_t syscall_flags;
  uint64_t high_values[3];
  uint64_t high_runs;
  uint64_t iret_cs;
  uint64_t no_execute_values[4];
  uint64_t target_first;
  uint64_t target_second;
  uint64_t target_back;
  uint64_t entry_read;
  uint64_t entry_written;
  uint64_t view_b_value;
  uint64_t view_b_gate;
  uint64_t fs_base;
  uint64_t gs_base;
  uint64_t xcr0;
  uint64_t answer;
  uint64_t mmio_loaded;
  uint64_t tsc;
  uint64_t go;
  uint64_t unused[3];
  uint64_t avx_pattern[4];
  uint64_t avx_after_exit[4];
  uint64_t avx_after_kick[4];
  uint64_t unused_too[8];
  ProbeException exceptions[EXPECT_COUNT];
};

#define HMVM_PROBE_AT(member, offset) static_assert(offsetof(ProbeResults, member) == (offset))
HMVM_PROBE_AT(resume, RESULT_RESUME);
HMVM_PROBE_AT(gate_frame, RESULT_GATE_FRAME);
HMVM_PROBE_AT(gate_view, RESULT_GATE_VIEW);
HMVM_PROBE_AT(frame, RESULT_FRAME);
HMVM_PROBE_AT(gate_done, RESULT_GATE_DONE);
HMVM_PROBE_AT(syscall_flags, RESULT_SYSCALL_FLAGS);
HMVM_PROBE_AT(high_runs, RESULT_HIGH_RUNS);
HMVM_PROBE_AT(no_execute_values, RESULT_NX_VALUES);
HMVM_PROBE_AT(entry_written, RESULT_ENTRY_WRITTEN);
HMVM_PROBE_AT(view_b_gate, RESULT_VIEW_B_GATE);
HMVM_PROBE_AT(xcr0, RESULT_XCR0);
HMVM_PROBE_AT(tsc, RESULT_TSC);
HMVM_PROBE_AT(go, RESULT_GO);
HMVM_PROBE_AT(avx_pattern, RESULT_AVX_PATTERN);
HMVM_PROBE_AT(avx_after_kick, RESULT_AVX_AFTER_KICK);
HMVM_PROBE_AT(exceptions, RESULT_EXCEPTIONS);
#undef HMVM_PROBE_AT
static_assert(sizeof(ProbeException) == EXCEPTION_SIZE);

extern "C" {
extern const char hmvm_probe_start[];
extern const char hmvm_probe_loop[];     // entered at ring 0
extern const char hmvm_probe_vectors[];  // 16 bytes each
extern const char hmvm_probe_gate_a[];
extern const char hmvm_probe_gate_b[];
extern const char hmvm_probe_ring3[];  // entered at ring 3
extern const char hmvm_probe_lstar[];
extern const char hmvm_probe_after_syscall[];
extern const char hmvm_probe_single_step_end[];
extern const char hmvm_probe_after_break[];
extern const char hmvm_probe_framed[];
extern const char hmvm_probe_spin[];
extern const char hmvm_probe_spin_end[];
extern const char hmvm_probe_end[];
}

class ProbeMachine {
 public:
  static constexpr uint64_t kBytes = PROBE_LARGE_SECOND + PROBE_FRAME + 0x1000;
  static constexpr uint64_t kMmioAddress = 0x10000000;
  static constexpr uint16_t kUserCode = 0x33;
  static constexpr uint64_t kTargetFirst = 0x1111;
  static constexpr uint64_t kTargetSecond = 0x2222;

  // The memory, ready to run; not yet in a VM.
  static Result<ProbeMachine> Create();

  Result<> AddTo(const Vm& vm) const { return vm.SetMemory(0, 0, memory_.bytes()); }
  // Brings `vcpu` to the start of the ring-0 loop or of the ring-3 program.
  Result<> SetState(Vcpu& vcpu, bool ring3) const;

  // SAFETY of both: constants inside the mapping, aligned.
  ProbeResults& results() const { return *reinterpret_cast<ProbeResults*>(At(PROBE_FRAMES + PROBE_RESULTS)); }
  uint64_t& Entry(uint64_t table, uint64_t index) const {
    return reinterpret_cast<uint64_t*>(At(table))[index];
  }
  // The entry of one of the probe's pages in the first view.
  uint64_t& EntryOfPage(uint64_t page) const { return Entry(PROBE_FRAMES + PROBE_TABLE, page / 4096); }
  // The entry of the page of 2 MiB in the first view.
  uint64_t& LargeEntry() const;

  static uint64_t AddressOf(const char* symbol) {
    return PROBE_BASE + static_cast<uint64_t>(symbol - hmvm_probe_start);
  }

 private:
  explicit ProbeMachine(Mapping memory) : memory_(std::move(memory)) {}
  std::byte* At(uint64_t address) const { return memory_.data() + address; }
  void BuildTables() const;
  void BuildDescriptors() const;

  Mapping memory_;
};

}  // namespace hmvm
