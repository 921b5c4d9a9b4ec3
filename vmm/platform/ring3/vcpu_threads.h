// What a hypercall asks of the threads that run the vCPUs.
#pragma once

#include <cstdint>
#include <span>

namespace hmvm::ring3 {

class VcpuThreads {
 public:
  virtual ~VcpuThreads() = default;

  // The caller's own vCPU waits until an event or an NMI is pending for it, or it is kicked. Only from its
  // own thread.
  virtual void WaitForEvent(uint32_t vcpu) = 0;
  // ... until one of `ports` is pending or an event can be delivered, until guest system time `deadline_ns`
  // (0: for ever), or it is kicked.
  virtual void WaitForPort(uint32_t vcpu, std::span<const uint32_t> ports, uint64_t deadline_ns) = 0;
  // The one-shot timer of the caller's own vCPU, in guest system time.
  virtual void SetTimer(uint32_t vcpu, uint64_t deadline_ns) = 0;
  virtual void CancelTimer(uint32_t vcpu) = 0;

  // Lets another thread of the host have the processor.
  virtual void Yield() = 0;

  // Makes a vCPU look at what has become pending for it, wherever it is.
  virtual void Wake(uint32_t vcpu) = 0;
  // When this returns, each vCPU with a bit set has left guest mode, and looks at what it was asked to before
  // it enters it again.
  virtual void LeaveGuestMode(uint64_t vcpus) = 0;
};

}  // namespace hmvm::ring3
