#include "images/scratch.h"

#include <sched.h>
#include <sys/mount.h>

#include <cstdlib>
#include <thread>

#include "base/file.h"

namespace hmvm {
namespace {

Result<> MountPrivately(const std::string& directory, uint64_t size_bytes) {
  // One thread may leave the others' mount namespace; unshare(2) implies CLONE_FS for it.
  if (::unshare(CLONE_NEWNS) < 0) return Error{errno, "make a mount namespace"};
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) < 0)
    return Error{errno, "make mounts private"};
  const std::string options = "mode=0700,size=" + std::to_string(size_bytes);
  if (::mount("tmpfs", directory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()) < 0) {
    return Error{errno, "mount a tmpfs on '" + directory + "'"};
  }
  return {};
}

}  // namespace

Result<> RunOnTmpfs(const std::string& directory, uint64_t size_bytes,
                    const std::function<Result<>()>& work) {
  Result<> result;
  std::thread thread([&] {
    result = MountPrivately(directory, size_bytes);
    if (result.has_value()) result = work();
  });
  thread.join();
  return result;
}

uint64_t SpareMemoryBytes() {
  const auto text = ReadFile("/proc/meminfo");
  if (!text.has_value()) return 0;
  constexpr std::string_view kKey = "MemAvailable:";
  const size_t at = text->find(kKey);
  if (at == std::string::npos) return 0;
  return std::strtoull(text->c_str() + at + kKey.size(), nullptr, 10) * 1024 / 4;
}

}  // namespace hmvm
