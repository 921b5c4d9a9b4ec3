// The guest code of the host probe: position-independent, copied to kProbeCode of the throw-away VM. It says
// how far it came by writes to I/O ports (ProbePort), with a value in eax where there is one.
#pragma once

#include <cstdint>

namespace hmvm {

enum ProbePort : uint16_t {
  kProbeLoopStart = 0x10,  // ring 0: before and behind a loop of kProbeLoopCount iterations
  kProbeLoopEnd = 0x11,
  kProbeSyscall = 0x20,        // where LSTAR leads; at which privilege is the question
  kProbeBreakGate = 0x21,      // in the handler of int3
  kProbeAfterBreak = 0x22,     // ring 3 again
  kProbeUndefinedGate = 0x23,  // in the handler of #UD
  kProbeGsBase = 0x24,         // eax: what rdgsbase gave; ring 3
  kProbeXcr0 = 0x25,           // eax: what xgetbv gave; ring 3
  kProbeDone = 0x2f,
  kProbeFault = 0x30,  // any other exception
};

inline constexpr uint32_t kProbeLoopCount = 500;
inline constexpr uint32_t kProbeGsValue = 0x12345000;

extern "C" {
extern const char hmvm_probe_start[];
extern const char hmvm_probe_loop[];       // entered at ring 0
extern const char hmvm_probe_ring3[];      // entered at ring 3
extern const char hmvm_probe_lstar[];      // LSTAR
extern const char hmvm_probe_break[];      // IDT 3
extern const char hmvm_probe_undefined[];  // IDT 6
extern const char hmvm_probe_fault[];      // IDT, all others
extern const char hmvm_probe_end[];
}

}  // namespace hmvm
