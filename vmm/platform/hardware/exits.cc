#include "vmm/platform/hardware/exits.h"

#include <algorithm>
#include <cstdio>
#include <span>

#include "vmm/kvm/describe.h"

namespace hmvm {
namespace {

struct NamedReason {
  uint32_t reason;
  const char* name;
};
constexpr NamedReason kReasons[] = {
    {KVM_EXIT_UNKNOWN, "KVM_EXIT_UNKNOWN"},
    {KVM_EXIT_EXCEPTION, "KVM_EXIT_EXCEPTION"},
    {KVM_EXIT_IO, "KVM_EXIT_IO"},
    {KVM_EXIT_HYPERCALL, "KVM_EXIT_HYPERCALL"},
    {KVM_EXIT_DEBUG, "KVM_EXIT_DEBUG"},
    {KVM_EXIT_HLT, "KVM_EXIT_HLT"},
    {KVM_EXIT_MMIO, "KVM_EXIT_MMIO"},
    {KVM_EXIT_IRQ_WINDOW_OPEN, "KVM_EXIT_IRQ_WINDOW_OPEN"},
    {KVM_EXIT_SHUTDOWN, "KVM_EXIT_SHUTDOWN"},
    {KVM_EXIT_FAIL_ENTRY, "KVM_EXIT_FAIL_ENTRY"},
    {KVM_EXIT_INTR, "KVM_EXIT_INTR"},
    {KVM_EXIT_SET_TPR, "KVM_EXIT_SET_TPR"},
    {KVM_EXIT_TPR_ACCESS, "KVM_EXIT_TPR_ACCESS"},
    {KVM_EXIT_NMI, "KVM_EXIT_NMI"},
    {KVM_EXIT_INTERNAL_ERROR, "KVM_EXIT_INTERNAL_ERROR"},
    {KVM_EXIT_SYSTEM_EVENT, "KVM_EXIT_SYSTEM_EVENT"},
    {KVM_EXIT_IOAPIC_EOI, "KVM_EXIT_IOAPIC_EOI"},
};

std::string Hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string DescribeReason(const kvm_run& run) {
  switch (run.exit_reason) {
    case KVM_EXIT_SHUTDOWN:
      return "KVM_EXIT_SHUTDOWN: the guest met a triple fault";
    case KVM_EXIT_FAIL_ENTRY:
      return "KVM_EXIT_FAIL_ENTRY: hardware reason " + Hex(run.fail_entry.hardware_entry_failure_reason);
    case KVM_EXIT_INTERNAL_ERROR: {
      std::string text = "KVM_EXIT_INTERNAL_ERROR: suberror " + std::to_string(run.internal.suberror);
      if (run.internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
        text += " (an instruction KVM can't emulate)";
      const uint32_t count = std::min<uint32_t>(run.internal.ndata, std::size(run.internal.data));
      for (uint32_t i = 0; i < count; ++i) text += (i == 0 ? ", data " : " ") + Hex(run.internal.data[i]);
      return text;
    }
    default:
      return ExitName(run.exit_reason) + ": the machine has no answer to it";
  }
}

void HandlePortAccess(kvm_run& run, const Bus& ports) {
  // SAFETY: KVM places `count` items of `size` bytes at data_offset inside the mapping it made of this
  // structure.
  std::byte* data = reinterpret_cast<std::byte*>(&run) + run.io.data_offset;
  for (uint32_t i = 0; i < run.io.count; ++i, data += run.io.size) {
    const std::span<std::byte> item(data, run.io.size);
    if (run.io.direction == KVM_EXIT_IO_OUT) {
      ports.Write(run.io.port, item);
    } else {
      ports.Read(run.io.port, item);
    }
  }
}

void HandleMmio(kvm_run& run, const Bus& mmio) {
  const std::span data = std::as_writable_bytes(std::span(run.mmio.data));
  const std::span item = data.first(std::min<size_t>(run.mmio.len, data.size()));
  if (run.mmio.is_write != 0) {
    mmio.Write(run.mmio.phys_addr, item);
  } else {
    mmio.Read(run.mmio.phys_addr, item);
  }
}

}  // namespace

std::vector<std::pair<std::string, uint64_t>> ExitCounters::Values() const {
  std::vector<std::pair<std::string, uint64_t>> values;
  for (size_t reason = 0; reason < counts_.size(); ++reason) {
    const uint64_t count = counts_[reason].load(std::memory_order_relaxed);
    if (count != 0) values.emplace_back(ExitName(static_cast<uint32_t>(reason)), count);
  }
  std::ranges::sort(values);
  return values;
}

std::string ExitName(uint32_t reason) {
  const auto found = std::ranges::find(kReasons, reason, &NamedReason::reason);
  return found == std::end(kReasons) ? "exit reason " + std::to_string(reason) : found->name;
}

VcpuTurn HandleExit(const Vcpu& vcpu, const PlatformContext& context) {
  kvm_run& run = vcpu.run();
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      HandlePortAccess(run, *context.ports);
      return {};
    case KVM_EXIT_MMIO:
      HandleMmio(run, *context.mmio);
      return {};
    case KVM_EXIT_INTR:
      return {.kind = VcpuTurn::Kind::kInterrupted, .end = {}, .report = {}};
    default:
      return {.kind = VcpuTurn::Kind::kEnded,
              .end = MachineEnd::kKvmError,
              .report = DescribeReason(run) + "\n" + DescribeVcpu(vcpu, *context.memory)};
  }
}

}  // namespace hmvm
