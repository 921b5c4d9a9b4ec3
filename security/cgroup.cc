#include "security/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <thread>
#include <utility>

#include "base/device_rules.h"
#include "base/file.h"

namespace hmvm {
namespace {

constexpr char kParent[] = "/hmvm";

struct Setting {
  std::string file;
  std::string value;
};

// What the limits want of one controller, in the order of writing.
struct Wish {
  std::string controller;
  std::string meaning;  // what is not so without it
  std::vector<Setting> v1;
  std::vector<Setting> v2;
};

std::vector<Wish> WishesOf(const CgroupLimits& limits) {
  const auto text = [](uint64_t number) { return std::to_string(number); };
  Wish cpu{"cpu", "processor time is not limited", {}, {}};
  if (limits.cpu_quota_us != 0) {
    cpu.v1.push_back({"cpu.cfs_period_us", text(kCpuPeriodUs)});
    cpu.v1.push_back({"cpu.cfs_quota_us", text(limits.cpu_quota_us)});
    cpu.v2.push_back({"cpu.max", text(limits.cpu_quota_us) + " " + text(kCpuPeriodUs)});
  }
  if (limits.cpu_shares != 0) {
    cpu.v1.push_back({"cpu.shares", text(limits.cpu_shares)});
    cpu.v2.push_back({"cpu.weight", text(CpuWeight(limits.cpu_shares))});
  }
  Wish cpuset{"cpuset", "any processor may be used", {}, {}};
  if (!limits.cpus.empty()) cpuset.v1 = cpuset.v2 = {{"cpuset.cpus", limits.cpus}};
  Wish memory{"memory", "the memory of the VMM is not limited from outside", {}, {}};
  if (limits.memory_bytes != 0) {
    memory.v1.push_back({"memory.limit_in_bytes", text(limits.memory_bytes)});
    memory.v2.push_back({"memory.max", text(limits.memory_bytes)});
    if (limits.swap_bytes.has_value()) {
      memory.v1.push_back({"memory.memsw.limit_in_bytes", text(limits.memory_bytes + *limits.swap_bytes)});
      memory.v2.push_back({"memory.swap.max", text(*limits.swap_bytes)});
    }
  }
  // Version 2 has no such controller but BPF programs.
  Wish devices{"devices", "device files can be opened", {}, {}};
  if (limits.no_devices) devices.v1 = {{"devices.deny", "a"}, {"devices.allow", "c 1:3 rwm"}};
  std::vector<Wish> wishes;
  for (Wish* wish : {&cpu, &cpuset, &memory, &devices}) {
    if (!wish->v1.empty()) wishes.push_back(std::move(*wish));
  }
  return wishes;
}

bool HasWord(const std::string& text, const std::string& word) {
  std::istringstream words(text);
  for (std::string each; words >> each;) {
    if (each == word) return true;
  }
  return false;
}

bool FileHasWord(const std::string& path, const std::string& word) {
  const auto content = ReadFile(path);
  return content.has_value() && HasWord(*content, word);
}

Result<> WriteValue(const UniqueFd& file, const std::string& path, const std::string& value) {
  if (auto written = WriteAll(file.get(), value); !written.has_value()) {
    return Error{written.error().code, "write '" + value + "' to '" + path + "'"};
  }
  return {};
}

Result<> WriteSetting(const std::string& folder, const Setting& setting) {
  const std::string path = folder + "/" + setting.file;
  HMVM_TRY_ASSIGN(const UniqueFd file, OpenFile(path, O_WRONLY));
  return WriteValue(file, path, setting.value);
}

// A limit that is not there, or is none ("max"), stays so.
Result<> RaiseLimit(const std::string& folder, const std::string& file, uint64_t bytes) {
  const std::string path = folder + "/" + file;
  if (::access(path.c_str(), F_OK) < 0) return {};
  HMVM_TRY_ASSIGN(const std::string text, ReadFile(path));
  uint64_t limit = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), limit).ec != std::errc()) return {};
  return WriteSetting(folder, {file, std::to_string(limit + bytes)});
}

// Why a controller can't be used; empty: it can.
std::string WhyUnusable(const CgroupHierarchies::Hierarchy* hierarchy, const std::string& controller) {
  const std::string name = "cgroup controller '" + controller + "'";
  if (hierarchy == nullptr) return "the host has no " + name;
  const std::string parent = hierarchy->path + kParent;
  const bool made = ::access(parent.c_str(), F_OK) == 0;
  if (::access((made ? parent : hierarchy->path).c_str(), W_OK) < 0) {
    return name + " at '" + hierarchy->path + "' can't be used: " + Error{errno, "write"}.Message();
  }
  // Below a cgroup of version 2 that has processes of its own no controller works. The root, which alone has
  // no cgroup.type, may have some.
  const auto processes = ReadFile(hierarchy->path + "/cgroup.procs");
  if (hierarchy->v2 && !FileHasWord(hierarchy->path + "/cgroup.subtree_control", controller) &&
      ::access((hierarchy->path + "/cgroup.type").c_str(), F_OK) == 0 && processes.has_value() &&
      !processes->empty()) {
    return name + " can't be used: the cgroup at '" + hierarchy->path + "' has processes of its own";
  }
  return "";
}

// Whether we may have a cgroup there; its controllers are another matter.
bool CanHoldUs(const CgroupHierarchies::Hierarchy* version2) {
  if (version2 == nullptr) return false;
  const std::string parent = version2->path + kParent;
  return ::access((::access(parent.c_str(), F_OK) == 0 ? parent : version2->path).c_str(), W_OK) == 0;
}

// Where version 1 has the controller that serves, the BPF programs of version 2 need not.
bool DevicesByVersion2(const CgroupHierarchies& hierarchies, const CgroupLimits& limits) {
  return limits.no_devices && hierarchies.Of("devices") == nullptr && CanHoldUs(hierarchies.version2());
}

Result<> MakeFolder(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) return Error{errno, "create cgroup '" + path + "'"};
  return {};
}

// A cpuset of version 1 is born empty, and no process can be in it then.
Result<> InheritCpuset(const std::string& folder) {
  const std::string above = folder.substr(0, folder.rfind('/'));
  for (const char* file : {"cpuset.mems", "cpuset.cpus"}) {
    HMVM_TRY_ASSIGN(const std::string own, ReadFile(folder + "/" + file));
    if (own.find_first_not_of('\n') != std::string::npos) continue;
    HMVM_TRY_ASSIGN(const std::string value, ReadFile(above + "/" + file));
    HMVM_TRY(WriteSetting(folder, {file, value.substr(0, value.find('\n'))}));
  }
  return {};
}

Result<> HandDown(const std::string& folder, const std::string& controller) {
  if (FileHasWord(folder + "/cgroup.subtree_control", controller)) return {};
  return WriteSetting(folder, {"cgroup.subtree_control", "+" + controller});
}

Result<> MakeCgroup(const CgroupHierarchies::Hierarchy& hierarchy, const std::string& folder,
                    const Wish& wish) {
  const std::string parent = hierarchy.path + kParent;
  const bool v1_cpuset = !hierarchy.v2 && wish.controller == "cpuset";
  if (hierarchy.v2) HMVM_TRY(HandDown(hierarchy.path, wish.controller));
  HMVM_TRY(MakeFolder(parent));
  if (hierarchy.v2) HMVM_TRY(HandDown(parent, wish.controller));
  if (v1_cpuset) HMVM_TRY(InheritCpuset(parent));
  HMVM_TRY(MakeFolder(folder));
  if (v1_cpuset) HMVM_TRY(InheritCpuset(folder));
  for (const Setting& setting : hierarchy.v2 ? wish.v2 : wish.v1) HMVM_TRY(WriteSetting(folder, setting));
  return {};
}

// Another machine's end may take the parent away under our hands.
template <typename Make>
Result<> Insist(const Make& make) {
  constexpr int kTries = 10;
  Result<> made = make();
  for (int tries = 1; !made.has_value() && made.error().code == ENOENT && tries < kTries; ++tries)
    made = make();
  return made;
}

// A process that is still ending has `patience` to do so.
bool RemoveFolder(const std::string& folder, std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds kPause{5};
  const auto deadline = std::chrono::steady_clock::now() + patience;
  bool removed = ::rmdir(folder.c_str()) == 0;
  while (!removed && errno != ENOENT && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kPause);
    removed = ::rmdir(folder.c_str()) == 0;
  }
  ::rmdir(folder.substr(0, folder.rfind('/')).c_str());  // fails while another machine is in it
  return removed;
}

// Spaces and the like in mountinfo: "\040".
std::string Unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

uint64_t CpuWeight(uint32_t shares) { return 1 + (uint64_t{shares} - 2) * 9999 / 262142; }

CgroupHierarchies CgroupHierarchies::Find() { return Parse(ReadFile("/proc/self/mountinfo").value_or("")); }

CgroupHierarchies CgroupHierarchies::Parse(const std::string& mountinfo) {
  CgroupHierarchies found;
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    // ID parent major:minor root MOUNT-POINT options optional... - TYPE source SUPER-OPTIONS
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash));
    std::istringstream behind(line.substr(dash + 3));
    std::string skipped, point, type, source, options;
    before >> skipped >> skipped >> skipped >> skipped >> point;
    behind >> type >> source >> options;
    const bool v2 = type == "cgroup2";
    if (!v2 && type != "cgroup") continue;
    const Hierarchy hierarchy{Unescape(point), v2};
    if (v2 && !found.version2_.has_value()) found.version2_ = hierarchy;
    std::string names = options;
    if (v2) names = ReadFile(hierarchy.path + "/cgroup.controllers").value_or("");
    std::replace(names.begin(), names.end(), ',', ' ');
    std::istringstream controllers(names);
    // A controller is in one hierarchy; its first mount serves.
    for (std::string name; controllers >> name;) found.controllers_.emplace(name, hierarchy);
  }
  return found;
}

const CgroupHierarchies::Hierarchy* CgroupHierarchies::Of(const std::string& controller) const {
  const auto found = controllers_.find(controller);
  return found == controllers_.end() ? nullptr : &found->second;
}

std::vector<std::string> CgroupHierarchies::paths() const {
  std::vector<std::string> paths;
  for (const auto& [controller, hierarchy] : controllers_) paths.push_back(hierarchy.path);
  if (version2_.has_value()) paths.push_back(version2_->path);
  std::ranges::sort(paths);
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  return paths;
}

std::vector<std::string> WhyNoLimits(const CgroupHierarchies& hierarchies, const CgroupLimits& limits) {
  std::vector<std::string> problems;
  for (const Wish& wish : WishesOf(limits)) {
    if (wish.controller == "devices" && DevicesByVersion2(hierarchies, limits)) continue;
    const std::string why = WhyUnusable(hierarchies.Of(wish.controller), wish.controller);
    if (!why.empty()) problems.push_back(why + ": " + wish.meaning);
  }
  return problems;
}

Cgroup& Cgroup::operator=(Cgroup&& other) noexcept {
  if (this == &other) return *this;
  Remove();
  folders_ = std::exchange(other.folders_, {});
  v1_tasks_ = std::exchange(other.v1_tasks_, {});
  v2_directory_ = std::move(other.v2_directory_);
  id_ = std::exchange(other.id_, 0);
  device_problem_ = std::move(other.device_problem_);
  return *this;
}

Result<Cgroup> Cgroup::Create(const CgroupHierarchies& hierarchies, const std::string& name,
                              const CgroupLimits& limits) {
  Cgroup cgroup;
  for (const Wish& wish : WishesOf(limits)) {
    const CgroupHierarchies::Hierarchy* const hierarchy = hierarchies.Of(wish.controller);
    if (!WhyUnusable(hierarchy, wish.controller).empty()) continue;
    const std::string folder = hierarchy->path + kParent + "/" + name;
    const bool known = std::ranges::find(cgroup.folders_, folder) != cgroup.folders_.end();
    if (!known) cgroup.folders_.push_back(folder);
    HMVM_TRY(Insist([&] { return MakeCgroup(*hierarchy, folder, wish); }));
    if (known || hierarchy->v2) continue;
    HMVM_TRY_ASSIGN(UniqueFd tasks, OpenFile(folder + "/tasks", O_WRONLY));
    cgroup.v1_tasks_.push_back(std::move(tasks));
  }
  if (CanHoldUs(hierarchies.version2())) {
    HMVM_TRY(cgroup.MakeVersion2(hierarchies.version2()->path + kParent + "/" + name));
    if (DevicesByVersion2(hierarchies, limits)) {
      const auto closed = HoldToDeviceRules(cgroup.v2_directory(), std::span(&kNullDevice, 1));
      if (!closed.has_value()) cgroup.device_problem_ = closed.error().Message();
    }
  }
  return cgroup;
}

Result<> Cgroup::MakeVersion2(const std::string& folder) {
  if (std::ranges::find(folders_, folder) == folders_.end()) folders_.push_back(folder);
  HMVM_TRY(Insist([&]() -> Result<> {
    HMVM_TRY(MakeFolder(folder.substr(0, folder.rfind('/'))));
    return MakeFolder(folder);
  }));
  HMVM_TRY_ASSIGN(v2_directory_, OpenFile(folder, O_RDONLY | O_DIRECTORY));
  HMVM_TRY_ASSIGN(id_, CgroupId(v2_directory_.get()));
  return {};
}

Result<> Cgroup::AllowMoreMemory(uint64_t bytes) const {
  for (const std::string& folder : folders_) {
    // With swap first: the kernel refuses one below the limit of memory alone.
    for (const char* file : {"memory.memsw.limit_in_bytes", "memory.limit_in_bytes", "memory.max"})
      HMVM_TRY(RaiseLimit(folder, file, bytes));
  }
  return {};
}

Result<LiftedCpuQuota> Cgroup::LiftCpuQuota() const {
  LiftedCpuQuota lifted;
  for (const std::string& folder : folders_) {
    for (const auto& [file, none] : {std::pair("/cpu.cfs_quota_us", "-1"), std::pair("/cpu.max", "max")}) {
      const std::string path = folder + file;
      if (::access(path.c_str(), F_OK) < 0) continue;
      HMVM_TRY_ASSIGN(std::string quota, ReadFile(path));
      HMVM_TRY_ASSIGN(UniqueFd fd, OpenFile(path, O_WRONLY));
      HMVM_TRY(WriteValue(fd, path, none));
      lifted.files_.push_back({path, std::move(fd), std::move(quota)});
    }
  }
  return lifted;
}

Result<> LiftedCpuQuota::Hold() const {
  for (const File& file : files_) {
    const auto held = WriteValue(file.fd, file.path, file.quota);
    if (!held.has_value() && held.error().code != ENODEV) return held;
  }
  return {};
}

std::vector<int> Cgroup::v1_tasks() const {
  std::vector<int> tasks;
  for (const UniqueFd& file : v1_tasks_) tasks.push_back(file.get());
  return tasks;
}

void Cgroup::Remove() {
  for (const std::string& folder : folders_) (void)RemoveFolder(folder, {});
  folders_.clear();
}

RemovedCgroups RemoveCgroups(const CgroupHierarchies& hierarchies, const std::string& name,
                             std::chrono::milliseconds patience) {
  RemovedCgroups removed;
  for (const std::string& path : hierarchies.paths()) {
    const std::string folder = path + kParent + "/" + name;
    if (::access(folder.c_str(), F_OK) < 0) continue;
    const bool gone = RemoveFolder(folder, patience);
    (gone ? removed.some : removed.all) = gone;
  }
  return removed;
}

std::string FindCgroup2() {
  const CgroupHierarchies hierarchies = CgroupHierarchies::Find();
  return hierarchies.version2() == nullptr ? "" : hierarchies.version2()->path;
}

Result<uint64_t> CgroupId(int directory) {
  struct stat status = {};
  if (::fstat(directory, &status) < 0) return Error{errno, "look at a cgroup"};
  return status.st_ino;  // which on 64-bit kernels is the id
}

Result<uint64_t> CgroupIdOfProcess(int pid) {
  HMVM_TRY_ASSIGN(const std::string text, ReadFile("/proc/" + std::to_string(pid) + "/cgroup"));
  const std::string mount = FindCgroup2();
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("0::") || mount.empty()) continue;
    HMVM_TRY_ASSIGN(const UniqueFd directory, OpenFile(mount + line.substr(3), O_RDONLY | O_DIRECTORY));
    return CgroupId(directory.get());
  }
  return Error{ENOENT, "cgroup of process " + std::to_string(pid)};
}

}  // namespace hmvm
