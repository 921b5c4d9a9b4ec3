#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "security/container/seccomp_profile.h"

namespace hmvm {

struct ParsedSeccomp {
  SeccompProfile profile;
  std::vector<std::string> warnings;  // names that no kernel has: docker passes over them in silence
};

// docker's JSON format for seccomp profiles, which podman and OCI runtimes share. Rows for other
// architectures than x86-64 are left out; `minKernel` is compared with hmvm's guest kernel. An error says
// where: line and column, or the path of the member.
Result<ParsedSeccomp> ParseSeccompJson(std::string_view text);

constexpr size_t kMaxSeccompJsonBytes = 1 << 20;

}  // namespace hmvm
