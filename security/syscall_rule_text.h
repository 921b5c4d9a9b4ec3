// System call rules as text, to be handed to a VMM on its command line: "309;72:1&ffffffff=406": for each
// rule the number, then its checks INDEX&MASK=VALUE with commas between. Masks and values are hexadecimal.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "security/syscall_rules.h"

namespace hmvm {

std::string FormatSyscallRules(std::span<const SyscallRule> rules);

// EINVAL: it is none of FormatSyscallRules'. At most kMaxFurtherRules.
inline constexpr size_t kMaxFurtherRules = 64;
Result<std::vector<SyscallRule>> ParseSyscallRules(std::string_view text);

}  // namespace hmvm
