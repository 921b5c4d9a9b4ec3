#include "security/guard/cgroup2.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <sstream>

#include "base/file.h"
#include "security/cgroup.h"

namespace hmvm {

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
