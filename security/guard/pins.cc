#include "security/guard/pins.h"

#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <filesystem>

#include "base/file.h"
#include "base/folder.h"
#include "bpf/guard.h"

namespace hmvm {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> FoldersIn(const std::string& folder) {
  std::vector<std::string> names = NamesIn(folder).value_or(std::vector<std::string>());
  std::erase_if(names, [&](const std::string& name) {
    std::error_code absent;
    return !fs::is_directory(fs::path(folder) / name, absent);
  });
  return names;
}

// The kernel makes the mount point; who mounts it is left to user space, most often systemd.
Result<> MountBpffs(const std::string& point) {
  struct statfs status = {};
  if (::statfs(point.c_str(), &status) < 0) return Error{errno, "look at '" + point + "'"};
  if (status.f_type == BPF_FS_MAGIC) return {};
  if (::mount("bpf", point.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0) {
    return Error{errno, "mount bpffs on '" + point + "'"};
  }
  return {};
}

}  // namespace

GuardPins::GuardPins(std::string folder)
    : folder_(std::move(folder)), wire_(folder_ + "/" + std::to_string(GUARD_WIRE)) {}

Result<UniqueFd> GuardPins::Lock(bool make) const {
  constexpr int kTries = 10;  // whoever had the lock before us may have removed the folder
  for (int tries = 0; tries < kTries; ++tries) {
    if (make) {
      HMVM_TRY(MountBpffs(folder_.substr(0, folder_.rfind('/'))));
      HMVM_TRY(MakePrivateFolder(wire_));
    }
    auto lock = OpenFile(wire_, O_RDONLY | O_DIRECTORY);
    if (!lock.has_value() && lock.error().code == ENOENT && make) continue;
    if (!lock.has_value()) return lock;
    while (::flock(lock->get(), LOCK_EX) < 0) {
      if (errno != EINTR) return Error{errno, "lock '" + wire_ + "'"};
    }
    struct stat locked = {}, there = {};
    if (::fstat(lock->get(), &locked) < 0) return Error{errno, "look at '" + wire_ + "'"};
    if (::stat(wire_.c_str(), &there) == 0 && there.st_ino == locked.st_ino) return lock;
    if (!make) return Error{ENOENT, "open '" + wire_ + "'"};
  }
  return Error{EAGAIN, "lock '" + wire_ + "': others load and unload the guard all the time"};
}

std::vector<std::string> GuardPins::Versions() const {
  std::vector<std::string> versions = FoldersIn(wire_);
  std::erase(versions, "loading");
  return versions;
}

std::vector<std::string> GuardPins::LayersOf(const std::string& version) const {
  std::vector<std::string> layers = FoldersIn(Version(version));
  std::erase(layers, "loading");
  return layers;
}

void GuardPins::RemoveAll() const {
  // The programs first: as long as they are attached, nothing may be missing that they need.
  for (const std::string& name : FoldersIn(wire_)) (void)RemoveTree(Version(name));
  (void)RemoveTree(wire_);
  std::error_code in_use;
  fs::remove(folder_, in_use);  // not while there is another wire's
}

}  // namespace hmvm
