#include "security/container/seccomp_filter.h"

#include <linux/audit.h>

#include <cstddef>
#include <map>
#include <optional>
#include <span>

#include "security/container/syscall_names.h"

namespace hmvm {
namespace {

// All jumps are relative and stay inside: pieces are put together as they are.
using Code = std::vector<sock_filter>;

constexpr uint32_t kNumberOffset = offsetof(seccomp_data, nr);
constexpr uint32_t kArchOffset = offsetof(seccomp_data, arch);

sock_filter Load(uint32_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset); }
sock_filter Return(SeccompVerdict verdict) { return BPF_STMT(BPF_RET | BPF_K, verdict); }
sock_filter And(uint32_t mask) { return BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask); }
sock_filter Jump(uint16_t compare, uint32_t value, uint8_t if_true, uint8_t if_false) {
  return BPF_JUMP(static_cast<uint16_t>(BPF_JMP | BPF_K | compare), value, if_true, if_false);
}

// Little-endian, as x86 is.
uint32_t LowOffset(uint8_t argument) {
  return static_cast<uint32_t>(offsetof(seccomp_data, args) + sizeof(uint64_t) * argument);
}
uint32_t HighOffset(uint8_t argument) { return LowOffset(argument) + sizeof(uint32_t); }
uint32_t Low(uint64_t value) { return static_cast<uint32_t>(value); }
uint32_t High(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

// Goes on behind its end where the check holds; jumps `to_next` instructions beyond it where it does not. The
// halves are compared one by one, as the machine of these programs has 32 bits.
Code CheckCode(const ArgumentTest& check, uint8_t to_next) {
  const uint8_t next = to_next;  // as seen from the last instruction
  const auto before = [&](uint8_t instructions) { return static_cast<uint8_t>(next + instructions); };
  const uint32_t high = High(check.value), low = Low(check.value);
  const sock_filter load_high = Load(HighOffset(check.index)), load_low = Load(LowOffset(check.index));
  switch (check.compare) {
    case ArgumentTest::Compare::kEqual:
      return {load_high, Jump(BPF_JEQ, high, 0, before(2)), load_low, Jump(BPF_JEQ, low, 0, next)};
    case ArgumentTest::Compare::kNotEqual:
      return {load_high, Jump(BPF_JEQ, high, 0, 2), load_low, Jump(BPF_JEQ, low, next, 0)};
    case ArgumentTest::Compare::kMaskedEqual:
      return {load_high, And(High(check.mask)), Jump(BPF_JEQ, high, 0, before(3)),
              load_low,  And(Low(check.mask)),  Jump(BPF_JEQ, low, 0, next)};
    case ArgumentTest::Compare::kGreater:
      return {load_high, Jump(BPF_JGT, high, 3, 0), Jump(BPF_JEQ, high, 0, before(2)), load_low,
              Jump(BPF_JGT, low, 0, next)};
    case ArgumentTest::Compare::kGreaterOrEqual:
      return {load_high, Jump(BPF_JGT, high, 3, 0), Jump(BPF_JEQ, high, 0, before(2)), load_low,
              Jump(BPF_JGE, low, 0, next)};
    case ArgumentTest::Compare::kLess:
      return {load_high, Jump(BPF_JGT, high, before(3), 0), Jump(BPF_JEQ, high, 0, 2), load_low,
              Jump(BPF_JGE, low, next, 0)};
    case ArgumentTest::Compare::kLessOrEqual:
      return {load_high, Jump(BPF_JGT, high, before(3), 0), Jump(BPF_JEQ, high, 0, 2), load_low,
              Jump(BPF_JGT, low, next, 0)};
  }
  return {};
}

// One row's checks and what follows from them. Six arguments and the longest check are 36 instructions, as
// far as a jump can go seven times over.
Code RowCode(const SeccompRow& row) {
  Code code = {Return(row.verdict)};
  for (auto check = row.checks.rbegin(); check != row.checks.rend(); ++check) {
    Code whole = CheckCode(*check, static_cast<uint8_t>(code.size()));
    whole.insert(whole.end(), code.begin(), code.end());
    code = std::move(whole);
  }
  return code;
}

// What is decided of one call.
struct Decision {
  std::vector<const SeccompRow*> checked;  // in order
  std::optional<SeccompVerdict> plain;     // of a row without checks: it goes before the others
};

Code DecisionCode(const Decision& decision, SeccompVerdict otherwise) {
  if (decision.plain.has_value()) return {Return(*decision.plain)};
  Code code;
  for (const SeccompRow* row : decision.checked) {
    const Code more = RowCode(*row);
    code.insert(code.end(), more.begin(), more.end());
  }
  code.push_back(Return(otherwise));
  return code;
}

bool Same(const Code& a, const Code& b) {
  return a.size() == 1 && b.size() == 1 && a[0].k == b[0].k;  // returns both
}

// From `first` up to the next span's first: what is done with these calls.
struct Span {
  uint32_t first;
  Code code;
};

// The number of the call is in the accumulator, and in one of the spans.
Code Bisect(std::span<const Span> spans) {
  if (spans.size() == 1) return spans[0].code;
  const size_t half = spans.size() / 2;
  const Code low = Bisect(spans.first(half)), high = Bisect(spans.subspan(half));
  Code code;
  if (low.size() <= UINT8_MAX) {
    code.push_back(Jump(BPF_JGE, spans[half].first, static_cast<uint8_t>(low.size()), 0));
  } else {
    code.push_back(Jump(BPF_JGE, spans[half].first, 0, 1));
    code.push_back(BPF_STMT(BPF_JMP | BPF_JA, static_cast<uint32_t>(low.size())));
  }
  code.insert(code.end(), low.begin(), low.end());
  code.insert(code.end(), high.begin(), high.end());
  return code;
}

bool Forbids(SeccompVerdict verdict) {
  const uint32_t action = verdict & SECCOMP_RET_ACTION_FULL;
  return action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG && action != SECCOMP_RET_TRACE;
}

Result<std::map<int, Decision>> Decide(const SeccompProfile& profile, uint64_t capabilities) {
  std::map<int, Decision> decisions;
  for (const SeccompRow& row : profile.rows) {
    if ((row.needs & ~capabilities) != 0 || (row.without & capabilities) != 0) continue;
    for (const int call : row.calls) {
      Decision& decision = decisions[call];
      if (!row.checks.empty()) {
        decision.checked.push_back(&row);
      } else if (decision.plain.value_or(row.verdict) != row.verdict) {
        return Error{0, "'" + NameOfSyscall(call) + "' is given two answers: " +
                            FormatVerdict(*decision.plain) + " and " + FormatVerdict(row.verdict)};
      } else {
        decision.plain = row.verdict;
      }
    }
  }
  return decisions;
}

}  // namespace

std::string FormatVerdict(SeccompVerdict verdict) {
  const std::string data = std::to_string(verdict & SECCOMP_RET_DATA);
  switch (verdict & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
      return "allow";
    case SECCOMP_RET_LOG:
      return "log";
    case SECCOMP_RET_TRACE:
      return "trace " + data;
    case SECCOMP_RET_ERRNO:
      return "errno " + data;
    case SECCOMP_RET_TRAP:
      return "trap";
    case SECCOMP_RET_KILL_THREAD:
      return "kill thread";
    default:
      return "kill process";
  }
}

Result<std::vector<sock_filter>> CompileSeccomp(const SeccompProfile& profile, uint64_t capabilities) {
  HMVM_TRY_ASSIGN(const auto decisions, Decide(profile, capabilities));
  std::vector<Span> spans;
  const auto add = [&](uint32_t first, Code code) {
    if (!spans.empty() && Same(spans.back().code, code)) return;
    spans.push_back({first, std::move(code)});
  };
  uint32_t next = 0;
  size_t size = 0;
  for (const auto& [call, decision] : decisions) {
    const auto number = static_cast<uint32_t>(call);
    if (number != next) add(next, {Return(profile.otherwise)});
    add(number, DecisionCode(decision, profile.otherwise));
    next = number + 1;
    size += spans.back().code.size();
    if (size > BPF_MAXINSNS) break;  // refused below: it needs no jumps any more
  }
  const bool newer_fail = Forbids(profile.otherwise) && !decisions.empty();
  add(next, {Return(newer_fail ? FailWith(ENOSYS) : profile.otherwise)});

  Code filter = {Load(kArchOffset), Jump(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0), Return(SECCOMP_RET_KILL_PROCESS),
                 Load(kNumberOffset)};
  const Code body = Bisect(spans);
  filter.insert(filter.end(), body.begin(), body.end());
  if (filter.size() > BPF_MAXINSNS) {
    return Error{0, "the filter is longer than the " + std::to_string(BPF_MAXINSNS) +
                        " instructions that the kernel takes"};
  }
  return filter;
}

std::string SeccompBytes(const std::vector<sock_filter>& filter) {
  // SAFETY: a sock_filter is four plain fields without padding.
  static_assert(sizeof(sock_filter) == 8);
  return {reinterpret_cast<const char*>(filter.data()), filter.size() * sizeof(sock_filter)};
}

}  // namespace hmvm
