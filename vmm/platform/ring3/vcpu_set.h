// All vCPUs of a machine: their KVM side, what they know of each other, and how one reaches another's thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/platform/platform.h"
#include "vmm/platform/ring3/vcpu_runner.h"
#include "vmm/platform/ring3/vcpu_threads.h"

namespace hmvm::ring3 {

class VcpuSet : public VcpuThreads {
 public:
  // Those that window and events were made for. All outlive it.
  static Result<std::vector<Vcpu>> CreateVcpus(const PlatformContext& context);
  VcpuSet(const PlatformContext& context, std::vector<Vcpu> vcpus, const Window* window, const Clock* clock,
          EventChannels* events);

  std::span<Vcpu> vcpus() { return vcpus_; }
  VcpuRunner& runner(uint32_t vcpu) { return runners_[vcpu]; }
  const std::deque<VcpuRunner>& runners() const { return runners_; }
  Power& power(uint32_t vcpu) { return shared_[vcpu].power; }

  void WaitForEvent(uint32_t vcpu) override { runner(vcpu).WaitForEvent(); }
  void WaitForPort(uint32_t vcpu, std::span<const uint32_t> ports, uint64_t deadline_ns) override {
    runner(vcpu).WaitForPort(ports, deadline_ns);
  }
  void SetTimer(uint32_t vcpu, uint64_t deadline_ns) override { runner(vcpu).timer().Set(deadline_ns); }
  void CancelTimer(uint32_t vcpu) override { runner(vcpu).timer().Cancel(); }
  void Yield() override;
  void Wake(uint32_t vcpu) override { runner(vcpu).Wake(); }
  void LeaveGuestMode(uint64_t vcpus) override;

 private:
  std::vector<Vcpu> vcpus_;
  std::array<SharedVcpu, kMaxVcpus> shared_;
  std::deque<VcpuRunner> runners_;  // they do not move
};

}  // namespace hmvm::ring3
