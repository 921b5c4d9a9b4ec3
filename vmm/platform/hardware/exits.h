// The exits of KVM_RUN that the hardware platform knows (Documentation/virt/kvm/api.rst, "The kvm_run
// structure").
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "vmm/kvm/kvm.h"
#include "vmm/platform/platform.h"

namespace hmvm {

// Exits by reason. Thread-safe.
class ExitCounters {
 public:
  void Count(uint32_t reason) {
    counts_[std::min<size_t>(reason, kOther)].fetch_add(1, std::memory_order_relaxed);
  }
  std::vector<std::pair<std::string, uint64_t>> Values() const;  // those that are not zero, by name

 private:
  static constexpr size_t kOther = 63;
  std::array<std::atomic<uint64_t>, kOther + 1> counts_ = {};
};

// "KVM_EXIT_IO"; "exit reason 99" for one without a name here.
std::string ExitName(uint32_t reason);

// Passes a port or MMIO access to its bus; what else KVM may exit for ends the machine with a report.
VcpuTurn HandleExit(const Vcpu& vcpu, const PlatformContext& context);

}  // namespace hmvm
