#include "guest/agent/guest_devices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>

#include "base/escape.h"
#include "guest/agent/in_root.h"

namespace hmvm::agent {
namespace {

namespace fs = std::filesystem;

constexpr char kDev[] = "/dev";

constexpr DeviceRule kUsualDevices[] = {
    {.access = BPF_DEVCG_ACC_MKNOD},
    {.type = BPF_DEVCG_DEV_BLOCK, .access = BPF_DEVCG_ACC_MKNOD},
    kNullDevice,
    {.major = 1, .minor = 5},  // zero
    {.major = 1, .minor = 7},  // full
    {.major = 1, .minor = 8},  // random
    {.major = 1, .minor = 9},  // urandom
    {.major = 5, .minor = 0},  // tty
    {.major = 5, .minor = 1},  // console
    {.major = 5, .minor = 2},  // ptmx
    {.major = 136},            // pts
};

bool IsDevice(const struct stat& status) { return S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode); }

Result<struct stat> FindDevice(const std::string& path) {
  const fs::path wanted(path);
  if (!path.starts_with("/dev/") || wanted.lexically_normal() != wanted || wanted.filename().empty()) {
    return Error{EINVAL, "'" + Escape(path) + "' is no path below /dev"};
  }
  struct stat status = {};
  if (::lstat(path.c_str(), &status) < 0) return Error{errno, "device '" + Escape(path) + "' of the guest"};
  if (!IsDevice(status)) return Error{ENODEV, "'" + Escape(path) + "' of the guest"};
  return status;
}

Result<> MakeLike(int root, const fs::path& path, const struct stat& status) {
  HMVM_TRY_ASSIGN(const UniqueFd folder, EnsureInRoot(root, path.parent_path(), FileKind::kDirectory));
  const std::string name = path.filename();
  if (::mknodat(folder.get(), name.c_str(), status.st_mode, status.st_rdev) < 0) {
    if (errno == EEXIST) return {};
    return Error{errno, "create '" + Escape(path.native()) + "'"};
  }
  if (::fchownat(folder.get(), name.c_str(), status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) < 0) {
    return Error{errno, "set the owner of '" + Escape(path.native()) + "'"};
  }
  return {};
}

}  // namespace

std::span<const DeviceRule> UsualDevices() { return kUsualDevices; }

Result<DeviceRule> RuleForGuestDevice(const std::string& path) {
  HMVM_TRY_ASSIGN(const struct stat status, FindDevice(path));
  const uint32_t type = S_ISBLK(status.st_mode) ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
  return DeviceRule{.type = type, .major = major(status.st_rdev), .minor = minor(status.st_rdev)};
}

Result<> AddGuestDevice(int root, const std::string& path) {
  HMVM_TRY_ASSIGN(const struct stat status, FindDevice(path));
  return MakeLike(root, path, status);
}

Result<> AddGuestDevices(int root) {
  std::error_code error;
  for (fs::recursive_directory_iterator at(kDev, error), end; !error && at != end; at.increment(error)) {
    struct stat status = {}, dev = {};
    if (::lstat(at->path().c_str(), &status) < 0) continue;  // it has gone meanwhile
    if (S_ISDIR(status.st_mode)) {
      // The terminals and shared memory mounted there are not devices of the machine.
      if (::stat(kDev, &dev) < 0 || status.st_dev != dev.st_dev) at.disable_recursion_pending();
    } else if (IsDevice(status)) {
      HMVM_TRY(MakeLike(root, at->path(), status));
    }
  }
  if (error) return Error{error.value(), std::string("read '") + kDev + "'"};
  return {};
}

}  // namespace hmvm::agent
