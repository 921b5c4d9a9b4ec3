#include "guest/agent/container_root.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "guest/agent/guest_devices.h"
#include "guest/agent/in_root.h"
#include "guest/agent/kmsg.h"
#include "guest/agent/mount_options.h"

namespace hmvm::agent {
namespace {

struct DefaultMount {
  const char* type;
  const char* target;
  unsigned long flags;
  const char* data;
};

constexpr unsigned long kStrict = MS_NOSUID | MS_NOEXEC | MS_NODEV;

// docker's, in its order; /proc comes with the container's first process.
constexpr DefaultMount kDefaultMounts[] = {
    {"tmpfs", "/dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"},
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
    {"sysfs", "/sys", kStrict | MS_RDONLY, ""},
    {"cgroup2", "/sys/fs/cgroup", kStrict | MS_RDONLY, ""},
    {"mqueue", "/dev/mqueue", kStrict, ""},
    {"tmpfs", "/dev/shm", kStrict, "mode=1777,size=65536k"},
};

struct Device {
  const char* name;
  unsigned int major;
  unsigned int minor;
};

constexpr Device kDevices[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                               {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

struct Link {
  const char* target;
  const char* name;
};

constexpr Link kLinks[] = {{"pts/ptmx", "ptmx"},          {"/proc/self/fd", "fd"},
                           {"/proc/self/fd/0", "stdin"},  {"/proc/self/fd/1", "stdout"},
                           {"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"}};

constexpr const char* kMaskedPaths[] = {"/proc/acpi",
                                        "/proc/asound",
                                        "/proc/interrupts",
                                        "/proc/kcore",
                                        "/proc/keys",
                                        "/proc/latency_stats",
                                        "/proc/sched_debug",
                                        "/proc/scsi",
                                        "/proc/timer_list",
                                        "/proc/timer_stats",
                                        "/sys/devices/virtual/powercap",
                                        "/sys/firmware"};

constexpr const char* kReadOnlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                          "/proc/sysrq-trigger"};

Result<> MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) return Error{errno, "create '" + path + "'"};
  return {};
}

Result<> Mount(const std::string& source, const std::string& target, const char* type, unsigned long flags,
               const std::string& data) {
  if (::mount(source.c_str(), target.c_str(), type, flags, data.c_str()) < 0) {
    return Error{errno, "mount '" + source + "' (" + type + ")"};
  }
  return {};
}

// After a restore an empty drive has been given its disk, and the kernel reads the new size when it comes to
// it, which it nearly always has by now; it tells nobody of a change from 0.
Result<> AwaitDisk(const std::string& device) {
  constexpr timespec kPause = {.tv_sec = 0, .tv_nsec = 100'000};
  constexpr int kTries = 50'000;
  for (int tries = 0; tries < kTries; ++tries) {
    HMVM_TRY_ASSIGN(const UniqueFd disk, OpenFile(device, O_RDONLY));
    uint64_t size_bytes = 0;
    if (::ioctl(disk.get(), BLKGETSIZE64, &size_bytes) < 0) return Error{errno, "size of '" + device + "'"};
    if (size_bytes != 0) return {};
    ::nanosleep(&kPause, nullptr);
  }
  return Error{ENOMEDIUM, "'" + device + "' is an empty drive"};
}

Result<> MountUpper(const std::string& directory, const v1::Rootfs& rootfs) {
  const std::string upper = directory + "/upper";
  HMVM_TRY(MakeDirectory(upper));
  if (rootfs.has_upper_device()) return Mount(rootfs.upper_device(), upper, "ext4", 0, "");
  const uint64_t size_bytes = rootfs.upper_memory_bytes();
  return Mount("tmpfs", upper, "tmpfs", 0,
               size_bytes == 0 ? "mode=755" : "mode=755,size=" + std::to_string(size_bytes));
}

Result<> MountOverlay(const std::string& directory) {
  const std::string lower = directory + "/lower";
  const std::string changes = directory + "/upper/changes";
  const std::string work = directory + "/upper/work";
  HMVM_TRY(MakeDirectory(changes));
  HMVM_TRY(MakeDirectory(work));
  HMVM_TRY(MakeDirectory(directory + "/root"));
  // The merged root's owner and mode are those of the upper directory: they shall be the image's.
  struct stat status = {};
  if (::stat(lower.c_str(), &status) < 0 || ::chown(changes.c_str(), status.st_uid, status.st_gid) < 0 ||
      ::chmod(changes.c_str(), status.st_mode & 07777) < 0) {
    return Error{errno, "copy owner and mode of the image's root"};
  }
  return Mount("overlay", directory + "/root", "overlay", 0,
               "lowerdir=" + lower + ",upperdir=" + changes + ",workdir=" + work);
}

Result<> MountDefault(int root, const DefaultMount& mount, bool writable) {
  HMVM_TRY_ASSIGN(const UniqueFd target, EnsureInRoot(root, mount.target, FileKind::kDirectory));
  const unsigned long flags = writable ? mount.flags & ~static_cast<unsigned long>(MS_RDONLY) : mount.flags;
  return MountOn(target.get(), mount.type, mount.type, flags, mount.data);
}

Result<> FillDev(int root) {
  HMVM_TRY_ASSIGN(const UniqueFd dev, EnsureInRoot(root, "/dev", FileKind::kDirectory));
  for (const Device& device : kDevices) {
    if (::mknodat(dev.get(), device.name, S_IFCHR | 0666, makedev(device.major, device.minor)) < 0) {
      return Error{errno, std::string("create '/dev/") + device.name + "'"};
    }
  }
  for (const Link& link : kLinks) {
    if (::symlinkat(link.target, dev.get(), link.name) < 0) {
      return Error{errno, std::string("create '/dev/") + link.name + "'"};
    }
  }
  return {};
}

Result<> MountRequested(int root, const v1::Mount& mount) {
  const MountOptions options =
      ParseMountOptions(std::vector<std::string>(mount.options().begin(), mount.options().end()));
  const bool bind = (options.flags & MS_BIND) != 0 || mount.type() == "bind";
  FileKind kind = FileKind::kDirectory;
  struct stat status = {};
  if (bind && ::stat(mount.source().c_str(), &status) == 0 && !S_ISDIR(status.st_mode))
    kind = FileKind::kFile;
  HMVM_TRY_ASSIGN(const UniqueFd target, EnsureInRoot(root, mount.destination(), kind));
  const std::string source = mount.source().empty() ? mount.type() : mount.source();
  if (!bind) {
    HMVM_TRY(MountOn(target.get(), source, mount.type(), options.flags, options.data));
  } else {
    HMVM_TRY(MountOn(target.get(), source, "bind", (options.flags & MS_REC) | MS_BIND, ""));
  }
  const unsigned long changes = bind ? options.flags & ~static_cast<unsigned long>(MS_BIND | MS_REC) : 0;
  if (changes == 0 && options.propagation == 0) return {};
  // `target` still refers to what lies below the new mount.
  HMVM_TRY_ASSIGN(const UniqueFd mounted, EnsureInRoot(root, mount.destination(), kind));
  if (changes != 0) HMVM_TRY(MountOn(mounted.get(), source, "bind", MS_REMOUNT | MS_BIND | changes, ""));
  if (options.propagation != 0) HMVM_TRY(MountOn(mounted.get(), source, "bind", options.propagation, ""));
  return {};
}

// A file of the agent's, bound over the image's own, which stays untouched, as docker does.
Result<> BindIdentityFile(int root, const std::string& directory, const std::string& name) {
  HMVM_TRY_ASSIGN(const UniqueFd target, EnsureInRoot(root, "/etc/" + name, FileKind::kFile));
  return MountOn(target.get(), directory + "/" + name, "bind", MS_BIND, "");
}

// Images without /tmp exist; programs that can't live without it are many.
Result<> EnsureTmp(int root) {
  if (::mkdirat(root, "tmp", 0) < 0) {
    if (errno == EEXIST) return {};
    return Error{errno, "create '/tmp'"};
  }
  if (::fchmodat(root, "tmp", 01777, 0) < 0) return Error{errno, "set the mode of '/tmp'"};
  return {};
}

Result<> PivotTo(int root) {
  if (::fchdir(root) < 0 || ::syscall(SYS_pivot_root, ".", ".") < 0) return Error{errno, "pivot_root"};
  // The old root now lies over the new one.
  if (::umount2(".", MNT_DETACH) < 0) return Error{errno, "unmount the agent's root"};
  if (::chdir("/") < 0) return Error{errno, "enter '/'"};
  return {};
}

Result<> MaskPath(const char* path) {
  struct stat status = {};
  if (::stat(path, &status) < 0) return {};  // this kernel does not have it
  if (S_ISDIR(status.st_mode)) return Mount("tmpfs", path, "tmpfs", MS_RDONLY, "");
  return Mount("/dev/null", path, "bind", MS_BIND, "");
}

Result<> MakeReadOnly(const char* path) {
  if (::access(path, F_OK) < 0) return {};
  HMVM_TRY(Mount(path, path, "bind", MS_BIND | MS_REC, ""));
  return Mount(path, path, "bind", MS_BIND | MS_REMOUNT | MS_RDONLY | kStrict, "");
}

}  // namespace

Result<> MountLayers(const std::string& directory, const v1::Rootfs& rootfs) {
  const std::string lower = directory + "/lower";
  HMVM_TRY(MakeDirectory(lower));
  HMVM_TRY(AwaitDisk(rootfs.lower_device()));
  HMVM_TRY(Mount(rootfs.lower_device(), lower, "erofs", MS_RDONLY, ""));
  Result<> mounted = MountUpper(directory, rootfs);
  if (mounted.has_value()) mounted = MountOverlay(directory);
  if (!mounted.has_value()) UnmountLayers(directory);
  return mounted;
}

void UnmountLayers(const std::string& directory) {
  for (const char* layer : {"/root", "/upper", "/lower"}) {
    const std::string path = directory + layer;
    if (::umount2(path.c_str(), 0) < 0 && errno == EBUSY) ::umount2(path.c_str(), MNT_DETACH);
  }
}

Result<> EnterContainerRoot(const std::string& directory, const v1::CreateContainerRequest& request,
                            const Identity& identity) {
  ::umask(0);
  HMVM_TRY_ASSIGN(const UniqueFd root, OpenFile(directory + "/root", O_PATH | O_DIRECTORY));
  for (const DefaultMount& mount : kDefaultMounts) {
    const auto mounted = MountDefault(root.get(), mount, request.writable_system_mounts());
    if (mounted.has_value()) continue;
    if (mounted.error().code != ENODEV) return mounted.error();
    Log(Severity::kWarning, mounted.error().Message() + ", ignoring");  // a kernel without this file system
  }
  HMVM_TRY(FillDev(root.get()));
  for (const std::string& device : request.devices()) HMVM_TRY(AddGuestDevice(root.get(), device));
  if (request.all_devices()) HMVM_TRY(AddGuestDevices(root.get()));
  HMVM_TRY(EnsureInRoot(root.get(), "/proc", FileKind::kDirectory));
  HMVM_TRY(EnsureTmp(root.get()));
  HMVM_TRY(WriteIdentityFiles(directory, identity));
  for (const char* name : kIdentityFiles) HMVM_TRY(BindIdentityFile(root.get(), directory, name));
  for (const v1::Mount& mount : request.mounts()) {
    if (auto mounted = MountRequested(root.get(), mount); !mounted.has_value()) {
      return Wrap("mount on '" + mount.destination() + "'", mounted.error());
    }
  }
  HMVM_TRY(SetHostname(identity.hostname, UniqueFd()));
  HMVM_TRY(PivotTo(root.get()));
  if (request.read_only()) return Mount("/", "/", "bind", MS_REMOUNT | MS_BIND | MS_RDONLY, "");
  return {};
}

Result<> MountProc(bool open) {
  HMVM_TRY(Mount("proc", "/proc", "proc", kStrict, ""));
  if (open) return {};
  for (const char* path : kReadOnlyPaths) HMVM_TRY(MakeReadOnly(path));
  for (const char* path : kMaskedPaths) HMVM_TRY(MaskPath(path));
  return {};
}

}  // namespace hmvm::agent
