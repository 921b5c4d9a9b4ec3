#include "runtime/container/process_identity.h"

#include <poll.h>
#include <sys/syscall.h>

#include <sstream>

#include "base/file.h"

namespace hmvm {
namespace {

// The fields of /proc/PID/stat behind the program's name, which may itself hold blanks and parentheses.
struct Stat {
  char state = 0;
  uint64_t start_ticks = 0;
};

std::optional<Stat> ReadStat(pid_t pid) {
  const auto text = ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text.has_value()) return std::nullopt;
  const size_t name_end = text->rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text->substr(name_end + 1));
  Stat stat;
  std::string skipped;
  fields >> stat.state;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  if (!(fields >> stat.start_ticks)) return std::nullopt;
  return stat;
}

}  // namespace

const std::string& BootId() {
  static const std::string id = [] {
    std::string text = ReadFile("/proc/sys/kernel/random/boot_id", 128).value_or("");
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }();
  return id;
}

std::optional<ProcessIdentity> IdentifyProcess(pid_t pid) {
  const auto stat = ReadStat(pid);
  if (!stat.has_value()) return std::nullopt;
  return ProcessIdentity{.pid = pid, .start_ticks = stat->start_ticks, .boot_id = BootId()};
}

UniqueFd OpenProcess(const ProcessIdentity& identity) {
  if (identity.pid <= 0 || identity.boot_id != BootId()) return UniqueFd();
  // First the descriptor, then the comparison: what it names can't change between the two.
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0)));
  if (!pidfd.valid()) return pidfd;
  const auto stat = ReadStat(identity.pid);
  if (!stat.has_value() || stat->start_ticks != identity.start_ticks) return UniqueFd();
  pollfd ended{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ended, 1, 0) != 0) return UniqueFd();
  return pidfd;
}

}  // namespace hmvm
