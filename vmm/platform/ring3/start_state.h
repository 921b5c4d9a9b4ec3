// What a vCPU starts with, and the KVM registers that are the same for all.
#pragma once

#include <asm/kvm.h>
#include <linux/kvm.h>

#include <array>
#include <cstdint>
#include <optional>

#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/platform/ring3/window.h"
#include "vmm/platform/ring3/xen.h"

namespace hmvm::ring3 {

inline constexpr uint32_t kMsrEfer = 0xc0000080;
inline constexpr uint64_t kEfer = 0xd01;  // SCE LME LMA NXE

struct StartState {
  uint64_t root = 0;       // guest-physical, of the kernel's tables
  uint64_t user_root = 0;  // 0: none
  kvm_regs registers = {};
  uint64_t kernel_sp = 0;
  uint64_t fs_base = 0, kernel_gs = 0, user_gs = 0;
  uint64_t event_entry = 0, syscall_entry = 0, page_fault_entry = 0;  // 0: not named yet
  std::array<Trap, kVectors> traps = {};
};

// Of a guest's vcpu_guest_context; nullopt when a vCPU can't start so: an address that is not canonical, a
// root outside RAM or without the monitor in it.
std::optional<StartState> StartStateOf(const VcpuContext& context, const GuestMemory& memory,
                                       const Window& window);

// A vCPU can start from it: all addresses are canonical, the root lies in RAM and has the monitor in it.
bool CanStart(const StartState& state, const GuestMemory& memory, const Window& window);

// The registers that are the same for all vCPUs at all times, and that only the VMM changes.
Result<> SetConstantMsrs(const Vcpu& vcpu, const Window& window);

// The code and stack segments of all that runs, as ring 3 is all there is.
void SetSegments(kvm_sregs* sregs);

// Puts vCPU `vcpu.index()` into `state`: its registers, and its Cpu in the window.
Result<> Start(const Vcpu& vcpu, const Window& window, const StartState& state);

}  // namespace hmvm::ring3
