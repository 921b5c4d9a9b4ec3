// A profile as the kernel takes it: a program of classic BPF.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "security/container/seccomp_profile.h"

namespace hmvm {

// The filter of `profile` for a container with `capabilities`. Calls are found by bisection, so that what a
// call costs hardly depends on the profile. Calls of other architectures than x86-64's 64-bit programs kill:
// the guest's kernel has none. Calls newer than all that the profile names fail with ENOSYS where it forbids
// the unknown, so that programs fall back to older ones. An error: two rows contradict each other, or it is
// more than the kernel takes.
Result<std::vector<sock_filter>> CompileSeccomp(const SeccompProfile& profile, uint64_t capabilities);

// What the agent is sent: the instructions' bytes.
std::string SeccompBytes(const std::vector<sock_filter>& filter);

}  // namespace hmvm
