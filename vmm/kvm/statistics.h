// The counters that KVM keeps of a VM or of a vCPU (api.rst, KVM_GET_STATS_FD).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/kvm/kvm.h"

namespace hmvm {

class KvmStatistics {
 public:
  // Of a vCPU before it runs: KVM does not answer while it does. EINVAL, ENOTTY: this kernel has none.
  static Result<KvmStatistics> Of(const Vm& vm);
  static Result<KvmStatistics> Of(const Vcpu& vcpu);
  // `fd` is laid out as KVM's file.
  static Result<KvmStatistics> Open(UniqueFd fd);

  // By name, in KVM's order; histograms are left out. Thread-safe, at any time.
  Result<std::vector<std::pair<std::string, uint64_t>>> Read() const;

 private:
  struct Counter {
    std::string name;
    uint64_t position;  // in the file
  };
  explicit KvmStatistics(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  std::vector<Counter> counters_;
};

}  // namespace hmvm
