// immediate_exit of kvm_run: the byte by which a vCPU is asked out of KVM_RUN (api.rst).
#pragma once

#include <linux/kvm.h>

#include <atomic>

namespace hmvm {

// The vCPU's thread, those that kick it, their signal handlers and KVM meet here at any time.
class KickFlag {
 public:
  explicit KickFlag(kvm_run& run) : flag_(run.immediate_exit) {}

  // Has KVM_RUN return at once, the next time if it has not begun. Thread-safe, async-signal-safe.
  void Raise() const { flag_.store(1); }
  bool raised() const { return flag_.load() != 0; }
  // Lowers it. Whoever raised it before did so for something that he had written: it is to be looked for
  // after this call, which sees it. (A mere store may reach memory after that look, and over the flag of one
  // who comes in between, whom nobody would hear then.)
  bool Take() const { return flag_.exchange(0) != 0; }

 private:
  static_assert(std::atomic_ref<__u8>::is_always_lock_free, "signal handlers use it");
  std::atomic_ref<__u8> flag_;
};

}  // namespace hmvm
