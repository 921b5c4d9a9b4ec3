// Which system calls hmvm-vmm may make: the policy as data, a table a role. seccomp filters are made of it at
// build time (make_filters.cc); the eBPF guard compiles it to a map.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

namespace hmvm {

// Holds when (argument & mask) == value. Arguments are the raw 64-bit registers; where the kernel reads an
// `int` or `unsigned int` the mask must leave the upper half out, as whatever is there does not count.
struct ArgumentCheck {
  uint8_t index = 0;  // 0 to 5
  uint64_t mask = 0;
  uint64_t value = 0;

  bool operator==(const ArgumentCheck&) const = default;
};

inline constexpr size_t kMaxArgumentChecks = 3;

class ArgumentChecks {
 public:
  constexpr ArgumentChecks() = default;
  constexpr ArgumentChecks(std::initializer_list<ArgumentCheck> checks) : count_(checks.size()) {
    size_t i = 0;
    for (const ArgumentCheck& check : checks) checks_.at(i++) = check;  // one too many does not compile
  }
  constexpr void Append(const ArgumentCheck& check) { checks_.at(count_++) = check; }
  constexpr const ArgumentCheck* begin() const { return checks_.data(); }
  constexpr const ArgumentCheck* end() const { return checks_.data() + count_; }
  constexpr size_t size() const { return count_; }

  bool operator==(const ArgumentChecks&) const = default;

 private:
  std::array<ArgumentCheck, kMaxArgumentChecks> checks_ = {};
  size_t count_ = 0;
};

// A call is allowed when all checks of a row hold; several rows of one number are alternatives.
struct SyscallRule {
  int number = -1;
  ArgumentChecks checks;
  const char* why = "";
};

// The threads of a machine that runs. Each has its own filter from before the guest's first instruction on.
enum class ThreadRole {
  kControl,  // main thread: control channel, snapshots, the machine's end
  kDevice,   // all devices' event loop
  kVcpu,     // one a vCPU: KVM_RUN and the exits
  kWorker,   // those that come and go: checking, and lazily loading, a snapshot's memory
};
inline constexpr ThreadRole kThreadRoles[] = {ThreadRole::kControl, ThreadRole::kDevice, ThreadRole::kVcpu,
                                              ThreadRole::kWorker};
std::string_view NameOf(ThreadRole role);

// What the threads of all roles may do, and what those of one may besides: no row is in both.
std::span<const SyscallRule> CommonRules();
std::span<const SyscallRule> RulesFor(ThreadRole role);

// What hmvm-vmm does from its birth in its cgroup (before exec) until it is sealed (security/jail.h, Seal).
// Coarse, as most of it happens before anything untrusted was read: for the eBPF guard alone.
std::span<const SyscallRule> SetUpRules();

}  // namespace hmvm
