// The hypercalls that reach the VMM. Every number and pointer in them is the guest's: pointers go through
// GuestAccess, frames through GuestMemory, ports through EventChannels.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

#include "vmm/devices/bus.h"
#include "vmm/platform/platform.h"
#include "vmm/platform/ring3/clock.h"
#include "vmm/platform/ring3/events.h"
#include "vmm/platform/ring3/guest_access.h"
#include "vmm/platform/ring3/power.h"
#include "vmm/platform/ring3/runstate.h"
#include "vmm/platform/ring3/vcpu_threads.h"
#include "vmm/platform/ring3/window.h"

namespace hmvm::ring3 {

// What all vCPUs know of one.
struct SharedVcpu {
  Power power;
  Runstate runstate;
  std::atomic<uint64_t> runstate_area{0};  // the guest's address for it, 0: none
  std::atomic<bool> nmi_pending{false};
};

// Of one vCPU; belongs to its thread.
class Hypercalls {
 public:
  using Arguments = std::array<uint64_t, 5>;

  struct Parts {  // all outlive the Hypercalls
    const GuestMemory* memory;
    const Window* window;
    const Clock* clock;
    const Bus* ports;
    EventChannels* events;
    VcpuThreads* threads;
    std::span<SharedVcpu> vcpus;
  };
  Hypercalls(const Parts& parts, uint32_t vcpu) : parts_(parts), access_(parts.memory), vcpu_(vcpu) {}

  // The result for the guest: a value, or a negative errno.
  int64_t Call(uint64_t number, const Arguments& arguments);

  // Set by SCHEDOP_shutdown.
  std::optional<MachineEnd> end() const { return end_; }

  // A single step was taken: bit 14 of DR6 until the guest clears it.
  void SetSingleStepped() { debug_status_ |= kDebugSingleStep; }
  // DR6 as the guest reads it.
  uint64_t debug_status() const { return debug_status_; }
  void SetDebugStatus(uint64_t value) { debug_status_ = value; }

  // "mmu_update" for 1; empty for a number that is nobody's.
  static std::string_view NameOf(uint64_t number);

 private:
  using Handler = int64_t (Hypercalls::*)(const Arguments&);
  struct Entry {
    uint64_t number;
    std::string_view name;
    Handler handler;  // nullptr: the monitor answers it without an exit
  };
  static const Entry kTable[];

  int64_t SetTrapTable(const Arguments& arguments);
  int64_t SetDebugRegister(const Arguments& arguments);
  int64_t GetDebugRegister(const Arguments& arguments);
  int64_t MemoryOperation(const Arguments& arguments);
  int64_t XenVersion(const Arguments& arguments);
  int64_t ConsoleIo(const Arguments& arguments);
  int64_t VmAssist(const Arguments& arguments);
  int64_t CallbackOperation(const Arguments& arguments);
  int64_t PhysdevOperation(const Arguments& arguments);
  int64_t InterruptVcpus(const Arguments& arguments);
  int64_t WriteMemoryMap(uint64_t argument);

  // hypercalls_vcpu.cc
  int64_t VcpuOperation(const Arguments& arguments);
  int64_t SchedOperation(const Arguments& arguments);
  int64_t InitialiseVcpu(uint32_t vcpu, uint64_t argument);
  int64_t RegisterVcpuInfo(uint32_t vcpu, uint64_t argument);
  int64_t RegisterRunstate(uint32_t vcpu, uint64_t argument);
  int64_t RegisterTimeArea(uint64_t argument);
  int64_t SetSingleshotTimer(uint64_t argument);
  int64_t Poll(uint64_t argument);
  int64_t Shutdown(uint64_t argument);

  // hypercalls_events.cc
  int64_t EventChannelOperation(const Arguments& arguments);
  void Tell(std::optional<uint32_t> vcpu) const;

  // Guest memory by the kernel's address, in its current tables.
  template <typename T>
  bool Read(uint64_t address, T* value) const {
    return access_.Read(Root(), address, value);
  }
  template <typename T>
  bool Write(uint64_t address, const T& value) const {
    return access_.Write(Root(), address, value);
  }
  Cpu& cpu() const { return parts_.window->cpu(vcpu_); }
  uint64_t Root() const { return cpu().kernel_root; }

  static constexpr uint64_t kDebugSingleStep = 1 << 14;
  static constexpr uint64_t kDebugStatusReserved = 0xffff0ff0;

  Parts parts_;
  GuestAccess access_;
  uint32_t vcpu_;
  std::optional<MachineEnd> end_;
  uint64_t debug_status_ = kDebugStatusReserved;
};

// Writes `info` to the guest's area at `area`, an address of the kernel's in the tables at `root`, so that
// another vCPU that reads it meanwhile notices. A page that is not there is the guest's own loss.
void WriteRunstate(const GuestAccess& access, uint64_t root, uint64_t area, const RunstateInfo& info);

}  // namespace hmvm::ring3
