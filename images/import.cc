#include "images/import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "base/file.h"
#include "images/erofs.h"
#include "images/layer.h"
#include "images/name.h"
#include "images/scratch.h"
#include "images/sha256.h"
#include "images/source.h"
#include "images/tree.h"

namespace hmvm {
namespace {

Result<UniqueFd> MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) < 0) return Error{errno, "make directory '" + path + "'"};
  return OpenFile(path, O_RDONLY | O_DIRECTORY);
}

// A tar is unpacked by the rules for layers: what is safe for those is safe for the archive around them.
Result<UniqueFd> UnpackArchive(const UniqueFd& archive, const std::string& work_dir) {
  HMVM_TRY_ASSIGN(UniqueFd root, MakeDirectory(work_dir + "/archive"));
  HMVM_TRY_ASSIGN(UniqueFd result, Duplicate(root.get()));
  HMVM_TRY_ASSIGN(UniqueFd trash, MakeDirectory(work_dir + "/archive-trash"));
  TreeWriter tree(std::move(root), std::move(trash));
  TreeUsage usage;
  auto applied = ApplyLayer(archive.get(), Compression::kDetect, tree, TreeLimits{}, usage);
  if (!applied.has_value()) return Wrap("archive", std::move(applied).error());
  return result;
}

Result<UniqueFd> OpenSource(const std::string& path, const std::string& work_dir) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) < 0) return Error{errno, "open"};
  if (S_ISDIR(status.st_mode)) return OpenFile(path, O_RDONLY | O_DIRECTORY);
  if (!S_ISREG(status.st_mode)) return Error{0, "neither a directory nor a file"};
  HMVM_TRY_ASSIGN(const UniqueFd archive, OpenFile(path, O_RDONLY));
  return UnpackArchive(archive, work_dir);
}

Result<> UnpackLayer(int source, const LayerSource& layer, TreeWriter& tree, TreeUsage& usage) {
  HMVM_TRY_ASSIGN(const UniqueFd fd, OpenBelow(source, layer.path));
  HMVM_TRY_ASSIGN(const LayerDigests digests,
                  ApplyLayer(fd.get(), layer.compression, tree, TreeLimits{}, usage));
  if (layer.blob && digests.blob != *layer.blob) return Error{0, "has the wrong digest: it is damaged"};
  if (digests.content != layer.diff_id) {
    return Error{0, "has other content than the image's config says (" + layer.diff_id.text() + ")"};
  }
  return {};
}

// Makes `output` by way of a tree below the empty directory `scratch`.
Result<> BuildErofs(int source, const ImageSource& image, const Digest& chain_id, const std::string& scratch,
                    const std::string& output) {
  const std::string tree_dir = scratch + "/root";
  HMVM_TRY_ASSIGN(UniqueFd root, MakeDirectory(tree_dir));
  HMVM_TRY_ASSIGN(UniqueFd trash, MakeDirectory(scratch + "/trash"));
  if (::fchmod(root.get(), 0755) < 0) return Error{errno, "set the mode of '" + tree_dir + "'"};
  TreeWriter tree(std::move(root), std::move(trash));
  TreeUsage usage;
  for (const LayerSource& layer : image.layers) {
    auto unpacked = UnpackLayer(source, layer, tree, usage);
    if (!unpacked.has_value()) return Wrap("layer '" + layer.path + "'", std::move(unpacked).error());
  }
  HMVM_TRY(tree.Finish());
  return MakeErofs(tree_dir, output, chain_id);
}

// Whether the layers will probably fit; a wrong guess costs time only.
bool FitsInMemory(int source, const ImageSource& image, uint64_t spare_bytes) {
  constexpr uint64_t kUsualRatio = 4;  // of a tree to its compressed layers
  uint64_t size_bytes = 0;
  for (const LayerSource& layer : image.layers) {
    struct stat status = {};
    if (::fstatat(source, layer.path.c_str(), &status, 0) == 0)
      size_bytes += static_cast<uint64_t>(status.st_size);
  }
  return size_bytes < spare_bytes / kUsualRatio;
}

// In memory where that is possible: unpacking to ext4 costs three times the CPU time, and more when many
// files were deleted in the last minutes, because it searches around their inodes.
Result<> BuildRootfs(int source, const ImageSource& image, const Digest& chain_id,
                     const std::string& work_dir, const std::string& rootfs_path) {
  const std::string scratch = work_dir + "/scratch";
  const std::string made = work_dir + "/rootfs.erofs";
  HMVM_TRY(MakeDirectory(scratch));
  const auto build = [&] { return BuildErofs(source, image, chain_id, scratch, made); };
  Result<> built = Error{ENOSPC, "memory"};
  const uint64_t spare_bytes = SpareMemoryBytes();
  if (FitsInMemory(source, image, spare_bytes)) built = RunOnTmpfs(scratch, spare_bytes, build);
  if (!built.has_value()) {
    // No right to mount, no room, or (before Linux 6.6) no user xattrs on tmpfs: the disk has all of them.
    const int code = built.error().code;
    if (code == EPERM || code == ENOSPC || code == EOPNOTSUPP) {
      ::unlink(made.c_str());  // it may be what filled the disk
      built = build();
    }
  }
  HMVM_TRY(std::move(built));
  if (::chmod(made.c_str(), 0400) < 0 || ::rename(made.c_str(), rootfs_path.c_str()) < 0) {
    return Error{errno, "make '" + rootfs_path + "'"};
  }
  return {};
}

}  // namespace

std::string ChainId(const std::vector<std::string>& diff_ids) {
  if (diff_ids.empty()) return Sha256::Of("").text();
  std::string chain_id = diff_ids[0];
  for (size_t i = 1; i < diff_ids.size(); ++i) {
    chain_id += " " + diff_ids[i];
    chain_id = Sha256::Of(chain_id).text();
  }
  return chain_id;
}

Result<ImportResult> ImportImage(const std::string& path, const std::string& work_dir,
                                 const std::string& rootfs_dir, const std::string& wanted) {
  HMVM_TRY_ASSIGN(const UniqueFd directory, OpenSource(path, work_dir));
  HMVM_TRY_ASSIGN(const ImageSource source, ReadImageSource(directory.get(), NameFromPath(path), wanted));
  std::vector<std::string> diff_ids;
  for (const Digest& diff_id : source.config.diff_ids) diff_ids.push_back(diff_id.text());
  HMVM_TRY_ASSIGN(const Digest chain_id, Digest::Parse(ChainId(diff_ids)));

  ImportResult result;
  result.names = source.names;
  result.image.id = source.id.text();
  result.image.chain_id = chain_id.text();
  result.image.rootfs_path = rootfs_dir + "/" + chain_id.hex + ".erofs";
  result.image.created = source.config.created;
  result.image.architecture = source.config.architecture;
  result.image.config = source.config.config;
  if (::access(result.image.rootfs_path.c_str(), F_OK) != 0) {
    HMVM_TRY(BuildRootfs(directory.get(), source, chain_id, work_dir, result.image.rootfs_path));
  }
  return result;
}

}  // namespace hmvm
