// The part of ImageStore that needs all that images are made of; in the library image_import.
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "images/import.h"
#include "images/metadata.h"
#include "images/name.h"
#include "images/store.h"
#include "images/store_folder.h"

namespace hmvm {

Result<Image> ImageStore::Import(const std::string& path, const std::string& name) {
  const StoreFolder folder(dir_);
  std::string wanted;
  if (!name.empty()) {
    HMVM_TRY_ASSIGN(wanted, NormalizeName(name));
  }
  HMVM_TRY_ASSIGN(const UniqueFd lock, folder.Lock(LOCK_EX));
  HMVM_TRY(folder.RemoveLeftovers());
  const std::string work_dir = folder.tmp + "/import";
  HMVM_TRY(MakeDirectory(work_dir));
  auto imported = ImportImage(path, work_dir, folder.rootfs, wanted);
  HMVM_TRY(folder.RemoveLeftovers());
  if (!imported.has_value()) {
    const std::string where = imported.error().code == ENOSPC ? " into '" + dir_ + "'" : "";
    return Wrap("import '" + path + "'" + where, std::move(imported).error());
  }

  Image& image = imported->image;
  struct stat status = {};
  if (::stat(image.rootfs_path.c_str(), &status) < 0) return Error{errno, "stat '" + image.rootfs_path + "'"};
  image.size_bytes = static_cast<uint64_t>(status.st_size);
  // The name last: what is found by a name is complete. An error here leaves at most an image without a name.
  HMVM_TRY(WriteFileAtomic(folder.ImageFile(image.id), FormatImageFile(image), 0600));
  const std::vector<std::string> names = wanted.empty() ? imported->names : std::vector<std::string>{wanted};
  for (const std::string& item : names) {
    HMVM_TRY(WriteFileAtomic(folder.NameFile(item), FormatNameFile({.name = item, .id = image.id}), 0600));
  }
  return Find(image.id);
}

}  // namespace hmvm
