#include "runtime/supervisor/host_cost.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "base/file.h"

namespace hmvm {
namespace {

Result<uint64_t> TakeNumber(std::string_view text, const char* what) {
  uint64_t value = 0;
  const auto [rest, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc()) return Error{EINVAL, what};
  return value;
}

}  // namespace

Result<uint64_t> ParseCpuTicks(std::string_view stat) {
  // proc(5): behind the name, which may hold anything, comes field 3; 14 and 15 are user and system time.
  const size_t name_end = stat.rfind(')');
  std::string_view rest = name_end == std::string_view::npos ? "" : stat.substr(name_end);
  for (int field = 2; field < 14; ++field) {
    const size_t blank = rest.find(' ');
    rest = blank == std::string_view::npos ? "" : rest.substr(blank + 1);
  }
  HMVM_TRY_ASSIGN(const uint64_t user, TakeNumber(rest, "user time of a process"));
  const size_t blank = rest.find(' ');
  rest = blank == std::string_view::npos ? "" : rest.substr(blank + 1);
  HMVM_TRY_ASSIGN(const uint64_t system, TakeNumber(rest, "system time of a process"));
  return user + system;
}

Result<uint64_t> ParsePssBytes(std::string_view smaps_rollup) {
  constexpr std::string_view kKey = "\nPss:";
  const size_t at = smaps_rollup.find(kKey);
  if (at == std::string_view::npos) return Error{EINVAL, "memory of a process"};
  std::string_view rest = smaps_rollup.substr(at + kKey.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  HMVM_TRY_ASSIGN(const uint64_t kib, TakeNumber(rest, "memory of a process"));
  return kib * 1024;
}

Result<HostCost> MeasureHostCost(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  HMVM_TRY_ASSIGN(const std::string stat, ReadFile(folder + "/stat"));
  HMVM_TRY_ASSIGN(const std::string memory, ReadFile(folder + "/smaps_rollup"));
  HMVM_TRY_ASSIGN(const uint64_t ticks, ParseCpuTicks(stat));
  HostCost cost;
  cost.cpu_ns = ticks * (1'000'000'000 / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK)));
  HMVM_TRY_ASSIGN(cost.memory_bytes, ParsePssBytes(memory));
  return cost;
}

}  // namespace hmvm
