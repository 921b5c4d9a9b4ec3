#include "guest/agent/process_list.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "base/file.h"

namespace hmvm::agent {
namespace {

constexpr size_t kMaxCommandBytes = 512;

uint64_t Number(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The words behind "KEY:" of /proc/PID/status.
std::vector<std::string_view> StatusWords(std::string_view status, std::string_view key) {
  std::vector<std::string_view> words;
  const size_t at = status.find("\n" + std::string(key) + ":");
  if (at == std::string_view::npos) return words;
  std::string_view line = status.substr(at + key.size() + 2);
  line = line.substr(0, line.find('\n'));
  while (!line.empty()) {
    const size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string_view::npos) break;
    line.remove_prefix(begin);
    words.push_back(line.substr(0, line.find_first_of(" \t")));
    line.remove_prefix(words.back().size());
  }
  return words;
}

// The arguments with blanks between; the name in brackets where there are none, as ps has it.
std::string CommandOf(std::string line, const std::string& name) {
  while (!line.empty() && line.back() == '\0') line.pop_back();
  if (line.empty()) return "[" + name + "]";
  std::ranges::replace(line, '\0', ' ');
  return line.substr(0, kMaxCommandBytes);
}

}  // namespace

Result<ProcessStat> ParseProcessStat(std::string_view text) {
  const size_t open = text.find('(');
  const size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    return Error{EINVAL, "process status without a name"};
  }
  ProcessStat stat;
  stat.name = text.substr(open + 1, close - open - 1);
  // proc(5): what follows the name begins with field 3.
  std::vector<std::string_view> fields;
  for (std::string_view rest = text.substr(close + 1); rest.size() > 1;) {
    rest.remove_prefix(1);
    fields.push_back(rest.substr(0, rest.find(' ')));
    rest.remove_prefix(fields.back().size());
  }
  constexpr size_t kFirst = 3, kParent = 4, kUserTicks = 14, kSystemTicks = 15, kResident = 24;
  if (fields.size() <= kResident - kFirst) return Error{EINVAL, "process status cut short"};
  stat.parent = static_cast<pid_t>(Number(fields[kParent - kFirst]));
  stat.cpu_ticks = Number(fields[kUserTicks - kFirst]) + Number(fields[kSystemTicks - kFirst]);
  stat.resident_pages = Number(fields[kResident - kFirst]);
  return stat;
}

v1::ListProcessesResponse ListProcesses(const std::vector<pid_t>& pids, const std::string& proc) {
  const auto ticks_per_second = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  struct Found {
    ProcessStat stat;
    v1::ProcessInfo info;
  };
  std::map<pid_t, Found> found;  // by the pid outside
  for (const pid_t pid : pids) {
    if (found.size() == kMaxListed) break;
    const std::string folder = proc + "/" + std::to_string(pid);
    const auto stat_text = ReadFile(folder + "/stat");
    const auto status = ReadFile(folder + "/status");
    if (!stat_text.has_value() || !status.has_value()) continue;
    auto stat = ParseProcessStat(*stat_text);
    const auto inside = StatusWords(*status, "NSpid");
    const auto uids = StatusWords(*status, "Uid");
    if (!stat.has_value() || inside.empty() || uids.empty()) continue;
    Found& entry = found[pid];
    entry.info.set_pid(static_cast<uint32_t>(Number(inside.back())));
    entry.info.set_uid(static_cast<uint32_t>(Number(uids[0])));
    entry.info.set_cpu_ns(stat->cpu_ticks * (1'000'000'000 / ticks_per_second));
    entry.info.set_resident_bytes(stat->resident_pages * page_bytes);
    entry.info.set_command(CommandOf(ReadFile(folder + "/cmdline").value_or(""), stat->name));
    entry.stat = std::move(*stat);
  }
  std::vector<v1::ProcessInfo> infos;
  for (auto& [pid, entry] : found) {
    // A parent outside the container is none, as getppid(2) has it.
    const auto parent = found.find(entry.stat.parent);
    if (parent != found.end()) entry.info.set_parent_pid(parent->second.info.pid());
    infos.push_back(entry.info);
  }
  std::ranges::sort(infos, {}, [](const v1::ProcessInfo& info) { return info.pid(); });
  v1::ListProcessesResponse response;
  for (v1::ProcessInfo& info : infos) *response.add_processes() = std::move(info);
  return response;
}

}  // namespace hmvm::agent
