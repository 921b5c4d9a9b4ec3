// Which system calls a container's processes may make: a profile, as data. It means what docker's JSON
// profiles mean.
#pragma once

#include <linux/seccomp.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

namespace hmvm {

// What becomes of a call, as the kernel's filters return it: SECCOMP_RET_* with its data in the low 16 bits.
using SeccompVerdict = uint32_t;

constexpr SeccompVerdict FailWith(int error) {
  return SECCOMP_RET_ERRNO | (static_cast<uint32_t>(error) & SECCOMP_RET_DATA);
}

// "allow", "errno 1", ...
std::string FormatVerdict(SeccompVerdict verdict);

// Of an argument as the kernel is given it: 64 bits.
struct ArgumentTest {
  enum class Compare : uint8_t {
    kEqual,
    kNotEqual,
    kLess,
    kLessOrEqual,
    kGreater,
    kGreaterOrEqual,
    kMaskedEqual  // (argument & mask) == value
  };
  uint8_t index = 0;  // 0 to 5
  Compare compare = Compare::kEqual;
  uint64_t value = 0;
  uint64_t mask = 0;  // of kMaskedEqual

  bool operator==(const ArgumentTest&) const = default;
};

struct SeccompRow {
  std::vector<int> calls = {};  // by number
  SeccompVerdict verdict = SECCOMP_RET_ALLOW;
  std::vector<ArgumentTest> checks = {};  // all must hold
  // The row counts for a container with all capabilities of `needs`, and none of `without`.
  uint64_t needs = 0;
  uint64_t without = 0;
};

// The first row decides that counts, names the call and whose checks hold; but a row without checks goes
// before all with some, wherever it stands.
struct SeccompProfile {
  SeccompVerdict otherwise = FailWith(EPERM);
  std::vector<SeccompRow> rows;
};

// docker's default: what nearly all programs need, and no way to the parts of the kernel that break most.
SeccompProfile DefaultSeccomp();
// The default without what few programs need: it stands beside it in default_seccomp.cc.
SeccompProfile StrictSeccomp();

}  // namespace hmvm
