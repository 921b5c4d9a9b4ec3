#include "images/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/escape.h"

namespace hmvm {
namespace {

constexpr char kDefaultAcl[] = "system.posix_acl_default";

Error Failed(const char* verb, const std::string& path) {
  return Error{errno, std::string(verb) + " '/" + Escape(path) + "' of the image"};
}

std::string Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string Base(const std::string& path) { return path.substr(path.rfind('/') + 1); }  // npos + 1 is 0

std::string Join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

// Labels of the host's own security modules mean nothing in the guest, and overlayfs's own marks would make
// parts of the image invisible there.
bool IsForeignXattr(std::string_view name) {
  return name == "security.selinux" || name == "security.ima" || name == "security.evm" ||
         name.starts_with("trusted.overlay.");
}

std::string ProcPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Result<std::string> CleanPath(std::string_view path) {
  constexpr size_t kMaxPathBytes = 3000;  // leaves room for the store's directory in mkfs.erofs's PATH_MAX
  constexpr int kMaxNames = 256;
  const auto refused = [path](const char* why) { return Error{0, "path '" + Escape(path) + "' " + why}; };
  if (path.size() > kMaxPathBytes) return refused("is too long");
  std::string clean;
  int names = 0;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (name.empty() || name == ".") continue;
    if (name == "..") return Error{0, "path below '" + Escape(clean) + "' has '..' in it"};
    if (name.size() > NAME_MAX) return Error{0, "name '" + Escape(name, 40) + "' is too long"};
    if (++names > kMaxNames) return Error{0, "path below '" + Escape(clean, 40) + "' is too deep"};
    if (!clean.empty()) clean += '/';
    clean += name;
  }
  return clean;
}

Result<UniqueFd> TreeWriter::OpenDirectory(const std::string& path) const {
  open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (;;) {
    UniqueFd fd(static_cast<int>(
        ::syscall(SYS_openat2, root_.get(), path.empty() ? "." : path.c_str(), &how, sizeof(how))));
    // EAGAIN: something was renamed or mounted on the host while ".." of a link was followed.
    if (!fd.valid() && (errno == EAGAIN || errno == EINTR)) continue;
    if (!fd.valid()) return Failed("open directory", path);
    return fd;
  }
}

Result<int> TreeWriter::OpenParent(const std::string& path, bool create) {
  const std::string directory = Parent(path);
  if (parent_.valid() && directory == parent_path_) return parent_.get();
  auto opened = OpenDirectory(directory);
  if (!opened.has_value() && opened.error().code == ENOENT && create) {
    HMVM_TRY(MakeParents(directory));
    opened = OpenDirectory(directory);
  }
  if (!opened.has_value()) return std::move(opened).error();
  parent_ = *std::move(opened);
  parent_path_ = directory;
  return parent_.get();
}

Result<> TreeWriter::MakeParents(const std::string& directory) {
  for (size_t end = 0; end != std::string::npos;) {
    end = directory.find('/', end + 1);
    const std::string path = directory.substr(0, end);
    HMVM_TRY_ASSIGN(const int parent, OpenParent(path, false));
    const std::string name = Base(path);
    if (::mkdirat(parent, name.c_str(), 0755) < 0) {
      if (errno == EEXIST) continue;
      return Failed("make directory", path);
    }
    // Against the umask and a setgid parent.
    if (::fchownat(parent, name.c_str(), 0, 0, AT_SYMLINK_NOFOLLOW) < 0 ||
        ::fchmodat(parent, name.c_str(), 0755, 0) < 0) {
      return Failed("set the owner of", path);
    }
    directories_[path] = Late{};
  }
  return {};
}

// Moves what is there out of the way, in one step however much it is.
Result<> TreeWriter::Discard(int parent, const std::string& name) {
  if (::unlinkat(parent, name.c_str(), 0) < 0) {
    if (errno == ENOENT) return {};
    if (errno != EISDIR) return Failed("remove", name);
    const std::string trash = std::to_string(trash_count_++);
    if (::renameat(parent, name.c_str(), trash_.get(), trash.c_str()) < 0) return Failed("remove", name);
  }
  // The parent may have been reached through what has just gone. Callers hold no descriptor but `parent`,
  // which this keeps open by ending only the path's validity.
  parent_path_ = "/";
  return {};
}

void TreeWriter::Touch(const std::string& path) {
  for (std::string at = path; touched_.insert(at).second && !at.empty();) at = Parent(at);
}

Result<> TreeWriter::MakeRoom(int parent, const std::string& name, const TreeEntry& entry) {
  if (name.empty()) return Error{0, "the image's root is not a directory"};
  HMVM_TRY(Discard(parent, name));
  Touch(entry.path);
  return {};
}

Result<UniqueFd> TreeWriter::CreateFile(const TreeEntry& entry) {
  HMVM_TRY_ASSIGN(const int parent, OpenParent(entry.path, true));
  const std::string name = Base(entry.path);
  HMVM_TRY(MakeRoom(parent, name, entry));
  UniqueFd fd(::openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return Failed("create", entry.path);
  return fd;
}

Result<> TreeWriter::FinishFile(int fd, const TreeEntry& entry) {
  // In this order: a write or a chown clears setuid and security.capability, a chmod does not.
  if (::fchown(fd, entry.uid, entry.gid) < 0) return Failed("set the owner of", entry.path);
  if (::fchmod(fd, entry.mode) < 0) return Failed("set the mode of", entry.path);
  HMVM_TRY(SetXattrs(ProcPath(fd), entry));
  const timespec times[2] = {entry.mtime, entry.mtime};
  if (::futimens(fd, times) < 0) return Failed("set the time of", entry.path);
  return {};
}

Result<> TreeWriter::Add(const TreeEntry& entry) {
  if (entry.kind == TreeEntry::Kind::kFile) {
    HMVM_TRY_ASSIGN(const UniqueFd fd, CreateFile(entry));
    return FinishFile(fd.get(), entry);
  }
  HMVM_TRY_ASSIGN(const int parent, OpenParent(entry.path, true));
  const std::string name = Base(entry.path);
  switch (entry.kind) {
    case TreeEntry::Kind::kDirectory:
      return AddDirectory(parent, name, entry);
    case TreeEntry::Kind::kHardLink:
      return AddHardLink(parent, name, entry);
    default:
      return AddSymlinkOrNode(parent, name, entry);
  }
}

Result<> TreeWriter::AddDirectory(int parent, const std::string& name, const TreeEntry& entry) {
  if (name.empty()) {
    Touch(entry.path);
    return SetDirectory(root_.get(), entry, true);
  }
  bool existed = false;
  if (::mkdirat(parent, name.c_str(), 0700) < 0) {
    if (errno != EEXIST) return Failed("make directory", entry.path);
    struct stat status = {};
    if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return Failed("stat", entry.path);
    existed = S_ISDIR(status.st_mode);
    if (!existed) {
      HMVM_TRY(Discard(parent, name));
      if (::mkdirat(parent, name.c_str(), 0700) < 0) return Failed("make directory", entry.path);
    }
  }
  Touch(entry.path);
  const UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return Failed("open directory", entry.path);
  return SetDirectory(fd.get(), entry, existed);
}

Result<> TreeWriter::SetDirectory(int fd, const TreeEntry& entry, bool existed) {
  if (::fchown(fd, entry.uid, entry.gid) < 0) return Failed("set the owner of", entry.path);
  if (::fchmod(fd, entry.mode) < 0) return Failed("set the mode of", entry.path);
  if (existed) {
    // As with overlayfs, where the upper layer's directory gives all attributes.
    std::string names(XATTR_LIST_MAX, '\0');
    const ssize_t size_bytes = ::flistxattr(fd, names.data(), names.size());
    for (ssize_t at = 0; at < size_bytes; at += static_cast<ssize_t>(std::strlen(&names[at])) + 1) {
      ::fremovexattr(fd, &names[at]);
    }
  }
  Late late{.mtime = entry.mtime, .default_acl = ""};
  for (const auto& [name, value] : entry.xattrs) {
    if (name == kDefaultAcl) late.default_acl = value;  // else the files to come would inherit it
  }
  directories_[entry.path] = std::move(late);
  return SetXattrs(ProcPath(fd), entry);
}

Result<> TreeWriter::AddHardLink(int parent, const std::string& name, const TreeEntry& entry) {
  if (entry.target == entry.path) return Error{0, "hard link '" + Escape(entry.path) + "' to itself"};
  const std::string target_name = Base(entry.target);
  HMVM_TRY_ASSIGN(const UniqueFd target_parent, OpenDirectory(Parent(entry.target)));
  struct stat target = {};
  if (target_name.empty() ||
      ::fstatat(target_parent.get(), target_name.c_str(), &target, AT_SYMLINK_NOFOLLOW) < 0) {
    return Error{ENOENT, "target '" + Escape(entry.target) + "' of hard link '" + Escape(entry.path) + "'"};
  }
  struct stat present = {};
  if (::fstatat(parent, name.c_str(), &present, AT_SYMLINK_NOFOLLOW) == 0 &&
      present.st_ino == target.st_ino) {
    Touch(entry.path);  // linked already; removing the old name first could remove the last one
    return {};
  }
  HMVM_TRY(MakeRoom(parent, name, entry));
  if (::linkat(target_parent.get(), target_name.c_str(), parent, name.c_str(), 0) < 0) {
    return Failed("make hard link", entry.path);
  }
  return {};
}

Result<> TreeWriter::AddSymlinkOrNode(int parent, const std::string& name, const TreeEntry& entry) {
  HMVM_TRY(MakeRoom(parent, name, entry));
  if (entry.kind == TreeEntry::Kind::kSymlink) {
    if (::symlinkat(entry.target.c_str(), parent, name.c_str()) < 0)
      return Failed("make symbolic link", entry.path);
  } else if (::mknodat(parent, name.c_str(), (entry.mode & S_IFMT) | 0600, entry.device) < 0) {
    return Failed("make device node", entry.path);
  }
  if (::fchownat(parent, name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) < 0) {
    return Failed("set the owner of", entry.path);
  }
  if (entry.kind == TreeEntry::Kind::kNode && ::fchmodat(parent, name.c_str(), entry.mode & 07777, 0) < 0) {
    return Failed("set the mode of", entry.path);
  }
  HMVM_TRY(SetXattrs(ProcPath(parent) + "/" + name, entry));
  const timespec times[2] = {entry.mtime, entry.mtime};
  if (::utimensat(parent, name.c_str(), times, AT_SYMLINK_NOFOLLOW) < 0)
    return Failed("set the time of", entry.path);
  return {};
}

// By a path through /proc: there is no fsetxattrat(2), and nodes and links cannot be opened.
Result<> TreeWriter::SetXattrs(const std::string& proc_path, const TreeEntry& entry) const {
  const bool is_descriptor =
      entry.kind == TreeEntry::Kind::kFile || entry.kind == TreeEntry::Kind::kDirectory;
  const auto set = is_descriptor ? ::setxattr : ::lsetxattr;
  for (const auto& [name, value] : entry.xattrs) {
    if (IsForeignXattr(name) || name == kDefaultAcl) continue;
    if (set(proc_path.c_str(), name.c_str(), value.data(), value.size(), 0) < 0) {
      return Failed(("set attribute '" + Escape(name) + "' of").c_str(), entry.path);
    }
  }
  return {};
}

Result<> TreeWriter::Whiteout(const std::string& path) {
  auto parent = OpenParent(path, false);
  if (!parent.has_value()) return {};  // no parent, nothing to hide
  return RemoveLower(*parent, Base(path), path);
}

Result<> TreeWriter::OpaqueWhiteout(const std::string& path) {
  auto directory = OpenDirectory(path);
  if (!directory.has_value()) return {};
  return RemoveLowerChildren(directory->get(), path);
}

// Recursion ends with what this layer has touched, so it is no deeper than CleanPath allows.
Result<> TreeWriter::RemoveLower(int parent, const std::string& name, const std::string& path) {
  if (!touched_.contains(path)) return Discard(parent, name);
  UniqueFd directory(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.valid()) return {};  // this layer's own file
  return RemoveLowerChildren(directory.get(), path);
}

Result<> TreeWriter::RemoveLowerChildren(int directory, const std::string& path) {
  // A new description: the position of `directory` may be shared.
  const int fd = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed("open directory", path);
  const std::unique_ptr<DIR, CloseDirectory> stream(::fdopendir(fd));
  if (!stream) return Failed("read directory", path);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  for (const std::string& name : names) HMVM_TRY(RemoveLower(directory, name, Join(path, name)));
  return {};
}

Result<> TreeWriter::Finish() {
  directories_.try_emplace("");
  for (const auto& [path, late] : directories_) {
    auto parent = OpenDirectory(Parent(path));
    if (!parent.has_value()) continue;  // removed since
    const std::string name = path.empty() ? "." : Base(path);
    const UniqueFd fd(::openat(parent->get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) continue;
    if (!late.default_acl.empty() &&
        ::fsetxattr(fd.get(), kDefaultAcl, late.default_acl.data(), late.default_acl.size(), 0) < 0) {
      return Failed("set the default ACL of", path);
    }
    const timespec times[2] = {late.mtime, late.mtime};
    if (::futimens(fd.get(), times) < 0) return Failed("set the time of", path);
  }
  return {};
}

}  // namespace hmvm
