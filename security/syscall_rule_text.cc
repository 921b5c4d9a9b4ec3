#include "security/syscall_rule_text.h"

#include <charconv>
#include <cinttypes>
#include <cstdio>

namespace hmvm {
namespace {

constexpr char kWhy[] = "the container's security profile";

// What stands before `end`, or all; takes it away.
std::string_view Take(std::string_view& text, char end) {
  const size_t length = std::min(text.find(end), text.size());
  const std::string_view taken = text.substr(0, length);
  text.remove_prefix(std::min(length + 1, text.size()));
  return taken;
}

template <typename Number>
bool Read(std::string_view text, Number& number, int base) {
  const auto [rest, code] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return code == std::errc() && rest == text.data() + text.size() && !text.empty();
}

bool ReadCheck(std::string_view text, ArgumentCheck& check) {
  const std::string_view index = Take(text, '&');
  const std::string_view mask = Take(text, '=');
  return Read(index, check.index, 10) && check.index <= 5 && Read(mask, check.mask, 16) &&
         Read(text, check.value, 16);
}

}  // namespace

std::string FormatSyscallRules(std::span<const SyscallRule> rules) {
  std::string text;
  for (const SyscallRule& rule : rules) {
    if (!text.empty()) text += ';';
    text += std::to_string(rule.number);
    char before = ':';
    for (const ArgumentCheck& check : rule.checks) {
      char words[64];
      std::snprintf(words, sizeof(words), "%c%u&%" PRIx64 "=%" PRIx64, before, check.index, check.mask,
                    check.value);
      text += words;
      before = ',';
    }
  }
  return text;
}

Result<std::vector<SyscallRule>> ParseSyscallRules(std::string_view text) {
  const Error error{EINVAL, "system call rules '" + std::string(text) + "'"};
  std::vector<SyscallRule> rules;
  while (!text.empty()) {
    std::string_view words = Take(text, ';');
    SyscallRule rule{.number = -1, .checks = {}, .why = kWhy};
    if (!Read(Take(words, ':'), rule.number, 10) || rule.number < 0) return error;
    while (!words.empty()) {
      ArgumentCheck check;
      if (rule.checks.size() == kMaxArgumentChecks || !ReadCheck(Take(words, ','), check)) return error;
      rule.checks.Append(check);
    }
    if (rules.size() == kMaxFurtherRules) return error;
    rules.push_back(rule);
  }
  return rules;
}

}  // namespace hmvm
