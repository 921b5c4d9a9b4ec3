#include "guest/agent/cgroup.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/file.h"

namespace hmvm::agent {
namespace {

Result<> WriteControl(const std::string& path, const std::string& value) {
  HMVM_TRY_ASSIGN(const UniqueFd file, OpenFile(path, O_WRONLY));
  if (auto written = WriteAll(file.get(), value); !written.has_value()) {
    return Error{written.error().code, "write '" + value + "' to '" + path + "'"};
  }
  return {};
}

Result<> WriteIfThere(const std::string& path, const std::string& value) {
  Result<> written = WriteControl(path, value);
  if (!written.has_value() && written.error().code == ENOENT) return {};
  return written;
}

}  // namespace

void EnableControllers() {
  for (const char* controller : {"+memory", "+pids", "+cpu", "+io", "+cpuset"}) {
    (void)WriteControl(std::string(kCgroupRoot) + "/cgroup.subtree_control", controller).has_value();
  }
}

Result<Cgroup> Cgroup::Create(const std::string& name) {
  const std::string path = std::string(kCgroupRoot) + "/" + name;
  if (::mkdir(path.c_str(), 0755) < 0) return Error{errno, "create cgroup '" + path + "'"};
  auto directory = OpenFile(path, O_RDONLY | O_DIRECTORY);
  if (!directory.has_value()) {
    ::rmdir(path.c_str());
    return directory.error();
  }
  return Cgroup(path, std::move(*directory));
}

Result<> Cgroup::Limit(const Limits& limits) const {
  if (limits.memory_max_bytes != 0) {
    HMVM_TRY(WriteControl(path_ + "/memory.max", std::to_string(limits.memory_max_bytes)));
  }
  if (limits.pids_max != 0) HMVM_TRY(WriteControl(path_ + "/pids.max", std::to_string(limits.pids_max)));
  if (limits.cpu_weight != 0) {
    HMVM_TRY(WriteIfThere(path_ + "/cpu.weight", std::to_string(limits.cpu_weight)));
  }
  return {};
}

Result<> Cgroup::RestrictDevices(std::optional<std::span<const DeviceRule>> allowed) {
  if (allowed.has_value() && device_program_.valid() && std::ranges::equal(*allowed, device_rules_))
    return {};
  UniqueFd program;
  if (allowed.has_value()) {
    HMVM_TRY_ASSIGN(program, HoldToDeviceRules(fd(), *allowed));
    device_rules_.assign(allowed->begin(), allowed->end());
  }
  // Beside the new one, so that there is no moment without any.
  const UniqueFd before = std::exchange(device_program_, std::move(program));
  return before.valid() ? LiftDeviceRules(fd(), before.get()) : Result<>();
}

uint64_t Cgroup::OomKills() const {
  const auto events = ReadFile(path_ + "/memory.events");
  return events.has_value() ? KeyedValue(*events, "oom_kill") : 0;
}

std::string Cgroup::Read(const std::string& control) const {
  return ReadFile(path_ + "/" + control).value_or("");
}

Result<std::vector<pid_t>> Cgroup::Processes() const {
  HMVM_TRY_ASSIGN(const std::string content, ReadFile(path_ + "/cgroup.procs"));
  std::vector<pid_t> pids;
  const char* at = content.data();
  const char* const end = at + content.size();
  for (pid_t pid = 0; at < end; ++at) {
    const auto [rest, error] = std::from_chars(at, end, pid);
    if (error != std::errc()) break;
    pids.push_back(pid);
    at = rest;
  }
  return pids;
}

Result<> Cgroup::Freeze() const {
  constexpr int kPatienceMs = 1000;
  HMVM_TRY_ASSIGN(const UniqueFd events, OpenFile(path_ + "/cgroup.events", O_RDONLY));
  HMVM_TRY(WriteControl(path_ + "/cgroup.freeze", "1"));
  for (;;) {
    // The kernel tells changes of the file by POLLPRI, since it was last read.
    char content[256];
    const ssize_t got = ::pread(events.get(), content, sizeof(content), 0);
    if (got > 0 && KeyedValue(std::string(content, static_cast<size_t>(got)), "frozen") == 1) return {};
    pollfd changed = {.fd = events.get(), .events = POLLPRI, .revents = 0};
    const int ready = ::poll(&changed, 1, kPatienceMs);
    if (ready > 0 || (ready < 0 && errno == EINTR)) continue;
    (void)Thaw().has_value();
    return Error{EBUSY, "processes of '" + path_ + "' can't be frozen"};
  }
}

Result<> Cgroup::Thaw() const { return WriteControl(path_ + "/cgroup.freeze", "0"); }

void Cgroup::Remove() const { ::rmdir(path_.c_str()); }

Result<> CgroupMaker::MakeAhead(std::span<const DeviceRule> devices) {
  HMVM_TRY_ASSIGN(ahead_, Cgroup::Create(".ahead"));  // no container is called so
  (void)ahead_->RestrictDevices(devices).has_value();
  return {};
}

Result<Cgroup> CgroupMaker::Make(const std::string& name) {
  if (!ahead_.has_value()) return Cgroup::Create(name);
  Cgroup made = std::move(*ahead_);
  ahead_.reset();
  return made;
}

uint64_t NestedSum(const std::string& content, const std::string& key) {
  const std::string word = " " + key + "=";
  uint64_t sum = 0;
  for (size_t at = content.find(word); at != std::string::npos; at = content.find(word, at + 1)) {
    uint64_t value = 0;
    std::from_chars(content.data() + at + word.size(), content.data() + content.size(), value);
    sum += value;
  }
  return sum;
}

uint64_t KeyedValue(const std::string& content, const std::string& key) {
  const std::string lines = "\n" + content;
  const size_t at = lines.find("\n" + key + " ");
  if (at == std::string::npos) return 0;
  const char* const number = lines.data() + at + key.size() + 2;
  uint64_t value = 0;
  std::from_chars(number, lines.data() + lines.size(), value);
  return value;
}

}  // namespace hmvm::agent
