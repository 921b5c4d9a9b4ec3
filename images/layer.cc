#include "images/layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <limits>

#include "base/escape.h"
#include "images/layer_reader.h"

namespace hmvm {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaqueWhiteout = ".wh..wh..opq";
constexpr std::string_view kAufs = ".wh..wh.";  // the rest of what AUFS left in layers; docker passes over it

// The tar's side of the pipe: keeps the block alive that libarchive is reading.
struct Feed {
  LayerReader& reader;
  ChunkQueue::Chunk chunk;
};

la_ssize_t OnRead(archive*, void* feed_pointer, const void** block) {
  auto* const feed = static_cast<Feed*>(feed_pointer);
  feed->chunk = feed->reader.Next();
  *block = feed->chunk.data();
  return static_cast<la_ssize_t>(feed->chunk.size());
}

Result<> WriteBlock(int fd, const void* data, size_t size_bytes, int64_t offset_bytes) {
  const char* at = static_cast<const char*>(data);
  while (size_bytes > 0) {
    const ssize_t put = ::pwrite(fd, at, size_bytes, offset_bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Error{errno, "write"};
    at += put;
    offset_bytes += put;
    size_bytes -= static_cast<size_t>(put);
  }
  return {};
}

// Copies the member's data, leaving holes where the archive has them. `size_bytes` was checked against the
// limits.
Result<> WriteContent(archive* tar, int fd, uint64_t size_bytes) {
  for (;;) {
    const void* data = nullptr;
    size_t length = 0;
    la_int64_t offset = 0;
    const int status = ::archive_read_data_block(tar, &data, &length, &offset);
    if (status == ARCHIVE_EOF) break;
    if (status < ARCHIVE_WARN) return ArchiveError(tar);
    if (offset < 0 || static_cast<uint64_t>(offset) > size_bytes ||
        length > size_bytes - static_cast<uint64_t>(offset)) {
      return Error{0, "has data beyond its size"};
    }
    HMVM_TRY(WriteBlock(fd, data, length, offset));
  }
  if (::ftruncate(fd, static_cast<off_t>(size_bytes)) < 0) return Error{errno, "write"};
  return {};
}

Result<> ReadOwner(archive_entry* member, TreeEntry& entry) {
  const la_int64_t uid = ::archive_entry_uid(member);
  const la_int64_t gid = ::archive_entry_gid(member);
  // The last number is (uid_t)-1, "leave as it is".
  constexpr la_int64_t kEnd = std::numeric_limits<uint32_t>::max();
  if (uid < 0 || uid >= kEnd || gid < 0 || gid >= kEnd) return Error{0, "has an owner out of range"};
  entry.uid = static_cast<uid_t>(uid);
  entry.gid = static_cast<gid_t>(gid);
  return {};
}

Result<> ReadKind(archive_entry* member, TreeEntry& entry) {
  using Kind = TreeEntry::Kind;
  entry.mode = ::archive_entry_perm(member) & 07777;
  if (const char* target = ::archive_entry_hardlink(member)) {
    entry.kind = Kind::kHardLink;
    HMVM_TRY_ASSIGN(entry.target, CleanPath(target));
    return {};
  }
  const auto type = ::archive_entry_filetype(member);
  switch (type) {
    case AE_IFREG:
      entry.kind = Kind::kFile;
      return {};
    case AE_IFDIR:
      entry.kind = Kind::kDirectory;
      return {};
    case AE_IFLNK: {
      entry.kind = Kind::kSymlink;
      const char* target = ::archive_entry_symlink(member);
      if (target == nullptr || *target == '\0') return Error{0, "is a symbolic link without target"};
      entry.target = target;
      return {};
    }
    case AE_IFCHR:
    case AE_IFBLK:
    case AE_IFIFO: {
      entry.kind = Kind::kNode;
      entry.mode |= type;
      const dev_t major = ::archive_entry_rdevmajor(member);
      const dev_t minor = ::archive_entry_rdevminor(member);
      if (major >= (1 << 12) || minor >= (1 << 20)) return Error{0, "has a device number out of range"};
      entry.device = type == AE_IFIFO ? 0 : ::makedev(major, minor);
      return {};
    }
    default:
      return Error{0, "is of an unknown type"};
  }
}

Result<TreeEntry> ReadEntry(archive_entry* member, std::string path) {
  TreeEntry entry;
  entry.path = std::move(path);
  HMVM_TRY(ReadOwner(member, entry));
  HMVM_TRY(ReadKind(member, entry));
  entry.mtime.tv_sec = std::max<time_t>(::archive_entry_mtime(member), 0);  // EROFS knows no time before 1970
  entry.mtime.tv_nsec = ::archive_entry_mtime_nsec(member);
  if (entry.mtime.tv_nsec < 0 || entry.mtime.tv_nsec >= 1'000'000'000) entry.mtime.tv_nsec = 0;
  ::archive_entry_xattr_reset(member);
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size_bytes = 0;
  while (::archive_entry_xattr_next(member, &name, &value, &size_bytes) == ARCHIVE_OK) {
    entry.xattrs.emplace_back(name, std::string(static_cast<const char*>(value), size_bytes));
  }
  return entry;
}

Result<> ApplyWhiteout(TreeWriter& tree, const std::string& path, std::string_view name) {
  const std::string directory = path.substr(0, path.size() - std::min(path.size(), name.size() + 1));
  if (name == kOpaqueWhiteout) return tree.OpaqueWhiteout(directory);
  if (name.starts_with(kAufs)) return {};
  name.remove_prefix(kWhiteout.size());
  if (name.empty() || name == "." || name == "..") return Error{0, "is a whiteout of nothing"};
  return tree.Whiteout(directory.empty() ? std::string(name) : directory + "/" + std::string(name));
}

Result<> ApplyFile(archive* tar, archive_entry* member, const TreeEntry& entry, TreeWriter& tree,
                   const TreeLimits& limits, TreeUsage& usage) {
  const la_int64_t size = ::archive_entry_size(member);
  if (size < 0 || static_cast<uint64_t>(size) > limits.max_bytes - usage.bytes) {
    return Error{EFBIG, "makes the image larger than " + std::to_string(limits.max_bytes >> 20) + " MiB"};
  }
  usage.bytes += static_cast<uint64_t>(size);
  HMVM_TRY_ASSIGN(const UniqueFd fd, tree.CreateFile(entry));
  HMVM_TRY(WriteContent(tar, fd.get(), static_cast<uint64_t>(size)));
  return tree.FinishFile(fd.get(), entry);
}

Result<> ApplyMember(archive* tar, archive_entry* member, TreeWriter& tree, const TreeLimits& limits,
                     TreeUsage& usage) {
  if (++usage.entries > limits.max_entries) {
    return Error{EFBIG, "makes the image larger than " + std::to_string(limits.max_entries) + " files"};
  }
  HMVM_TRY_ASSIGN(std::string path, CleanPath(::archive_entry_pathname(member)));
  const std::string name = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
  if (name.starts_with(kWhiteout)) return ApplyWhiteout(tree, path, name);
  HMVM_TRY_ASSIGN(const TreeEntry entry, ReadEntry(member, std::move(path)));
  if (entry.kind == TreeEntry::Kind::kFile) return ApplyFile(tar, member, entry, tree, limits, usage);
  return tree.Add(entry);
}

Result<> ApplyTar(archive* tar, TreeWriter& tree, const TreeLimits& limits, TreeUsage& usage) {
  for (;;) {
    archive_entry* member = nullptr;
    const int status = ::archive_read_next_header(tar, &member);
    if (status == ARCHIVE_EOF) return {};
    if (status < ARCHIVE_WARN) return ArchiveError(tar);
    // A warning says that a name is no UTF-8 of the locale; it is the bytes that we want, and those we get.
    const char* path = ::archive_entry_pathname(member);
    if (path == nullptr) return Error{0, "a member has no name"};
    if (auto applied = ApplyMember(tar, member, tree, limits, usage); !applied.has_value()) {
      return Wrap("member '" + Escape(path) + "'", std::move(applied).error());
    }
  }
}

}  // namespace

Result<LayerDigests> ApplyLayer(int fd, Compression compression, TreeWriter& tree, const TreeLimits& limits,
                                TreeUsage& usage) {
  LayerReader reader(fd, compression);
  Feed feed{.reader = reader, .chunk = {}};
  tree.BeginLayer();
  const ArchiveReader tar(::archive_read_new());
  ::archive_read_support_format_tar(tar.get());
  ::archive_read_support_format_empty(tar.get());
  Result<> applied;
  if (::archive_read_open(tar.get(), &feed, nullptr, &OnRead, nullptr) != ARCHIVE_OK) {
    applied = ArchiveError(tar.get());
  } else {
    applied = ApplyTar(tar.get(), tree, limits, usage);
  }
  // Even a bad tar is read to its end: where the bytes are not what the digest promised, that is the better
  // message.
  while (!reader.Next().empty()) {
  }
  auto digests = reader.Finish();
  if (!digests.has_value()) return digests;
  if (!applied.has_value()) return std::move(applied).error();
  return digests;
}

}  // namespace hmvm
