#include "security/guard/policy.h"

#include <linux/io_uring.h>

#include <algorithm>
#include <string>

#include "base/sanitizer.h"

namespace hmvm {
namespace {

static_assert(kMaxArgumentChecks <= GUARD_CHECKS);

// A disk's (vmm/virtio/block_io_uring).
constexpr uint8_t kDiskOperations[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
                                       IORING_OP_FALLOCATE};

// The roles in the order of how often their calls come: a call's rows are tried one after the other, and
// KVM_RUN is the first of ioctl's.
constexpr ThreadRole kOrder[] = {ThreadRole::kVcpu, ThreadRole::kDevice, ThreadRole::kControl,
                                 ThreadRole::kWorker};
static_assert(std::size(kOrder) == std::size(kThreadRoles));

guard_row RowOf(const ArgumentChecks& checks) {
  guard_row row = {};
  for (const ArgumentCheck& check : checks) {
    row.argument[row.checks] = check.index;
    row.mask[row.checks] = check.mask;
    row.value[row.checks] = check.value;
    ++row.checks;
  }
  return row;
}

// The rules of one state.
class Compiler {
 public:
  Compiler(guard_policy& policy, guard_state state) : policy_(policy), calls_(policy.calls[state]) {}

  Result<> Add(std::span<const SyscallRule> rules, size_t& used_rows) {
    for (int number = 0; number < GUARD_SYSCALLS; ++number) HMVM_TRY(AddCall(rules, number, used_rows));
    for (const SyscallRule& rule : rules) HMVM_TRY(Check(rule));
    return {};
  }

 private:
  static std::string Name(int number) { return "the guard's rule for system call " + std::to_string(number); }

  static Result<> Check(const SyscallRule& rule) {
    const bool known = std::ranges::all_of(
        rule.checks, [](const ArgumentCheck& check) { return check.index < GUARD_ARGUMENTS; });
    if (rule.number < 0 || rule.number >= GUARD_SYSCALLS || !known) return Error{EINVAL, Name(rule.number)};
    return {};
  }

  // A row without checks makes all others of its number needless.
  Result<> AddCall(std::span<const SyscallRule> rules, int number, size_t& used_rows) {
    std::vector<ArgumentChecks> rows;
    guard_call& call = calls_[number];
    call.verdict = GUARD_FORBIDDEN;
    for (const SyscallRule& rule : rules) {
      if (rule.number != number) continue;
      if (rule.checks.size() == 0) {
        call.verdict = GUARD_ALLOWED;
        return {};
      }
      if (std::ranges::find(rows, rule.checks) == rows.end()) rows.push_back(rule.checks);
    }
    if (rows.empty()) return {};
    if (rows.size() > GUARD_CALL_ROWS || used_rows + rows.size() > GUARD_ROWS)
      return Error{E2BIG, Name(number)};
    call.verdict = GUARD_BY_ROWS;
    call.first_row = static_cast<uint16_t>(used_rows);
    call.rows = static_cast<uint8_t>(rows.size());
    for (const ArgumentChecks& checks : rows) policy_.rows[used_rows++] = RowOf(checks);
    return {};
  }

  guard_policy& policy_;
  guard_call* calls_;
};

}  // namespace

GuardRules VmmRules() {
  GuardRules rules;
  const auto add = [](std::vector<SyscallRule>& to, std::span<const SyscallRule> more) {
    to.insert(to.end(), more.begin(), more.end());
  };
  for (const ThreadRole role : kOrder) add(rules.sealed, RulesFor(role));
  add(rules.sealed, CommonRules());
  rules.setting_up = rules.sealed;
  add(rules.setting_up, SetUpRules());
  // The stand-in VMM of the sanitizers' builds: its runtime has made any call before main() begins.
  for (int number = 0; kSanitized && number < GUARD_SYSCALLS; ++number) {
    rules.setting_up.push_back({.number = number, .checks = {}, .why = "the sanitizer's runtime"});
  }
  rules.uring_operations.assign(std::begin(kDiskOperations), std::end(kDiskOperations));
  return rules;
}

Result<std::unique_ptr<guard_policy>> CompileGuardPolicy(const GuardRules& rules) {
  auto policy = std::make_unique<guard_policy>();
  policy->used = 1;
  size_t used_rows = 0;
  HMVM_TRY(Compiler(*policy, GUARD_SETTING_UP).Add(rules.setting_up, used_rows));
  HMVM_TRY(Compiler(*policy, GUARD_SEALED).Add(rules.sealed, used_rows));
  for (const uint8_t operation : rules.uring_operations) {
    if (operation >= 64) return Error{EINVAL, "io_uring operation " + std::to_string(operation)};
    policy->uring_calls |= uint64_t{1} << operation;
  }
  return policy;
}

}  // namespace hmvm
