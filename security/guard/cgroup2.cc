#include "security/guard/cgroup2.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <sstream>

#include "base/file.h"

namespace hmvm {

std::string FindCgroup2() {
  std::istringstream lines(ReadFile("/proc/self/mountinfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const size_t dash = line.find(" - cgroup2 ");
    if (dash == std::string::npos) continue;
    std::istringstream words(line);
    std::string skipped, point;
    words >> skipped >> skipped >> skipped >> skipped >> point;
    return point;
  }
  return "";
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
