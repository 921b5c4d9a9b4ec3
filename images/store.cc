#include "images/store.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/escape.h"
#include "base/file.h"
#include "base/folder.h"
#include "images/metadata.h"
#include "images/name.h"
#include "images/store_folder.h"

namespace hmvm {
namespace {

constexpr std::string_view kAlgorithm = StoreFolder::kAlgorithm;
constexpr std::string_view kJson = StoreFolder::kJson;

// Reads all of one directory's documents; what cannot be read is told and passed over.
template <typename Document>
Result<std::vector<Document>> ReadAll(const std::string& directory,
                                      Result<Document> (*parse)(std::string_view),
                                      std::vector<Error>& broken) {
  HMVM_TRY_ASSIGN(const std::vector<std::string> files, FilesIn(directory));
  std::vector<Document> documents;
  for (const std::string& file : files) {
    if (!file.ends_with(kJson)) continue;  // WriteFileAtomic's work in progress
    const std::string path = directory + "/" + file;
    auto text = ReadFile(path);
    if (!text.has_value()) {
      if (text.error().code != ENOENT) broken.push_back(std::move(text).error());  // else removed just now
      continue;
    }
    auto document = parse(*text);
    if (document.has_value()) {
      documents.push_back(*std::move(document));
    } else {
      broken.push_back(Wrap("file '" + path + "'", std::move(document).error()));
    }
  }
  return documents;
}

// Removes the EROFS files that no image uses. While an image's metadata is broken all stay: one may be its.
Result<> CollectRootfs(const StoreFolder& folder) {
  std::vector<Error> broken;
  HMVM_TRY_ASSIGN(const std::vector<Image> images, ReadAll<Image>(folder.images, &ParseImageFile, broken));
  if (!broken.empty()) return {};
  std::set<std::string> used;
  for (const Image& image : images) used.insert(folder.Rootfs(image.chain_id));
  HMVM_TRY_ASSIGN(const std::vector<std::string> files, FilesIn(folder.rootfs));
  for (const std::string& file : files) {
    const std::string path = folder.rootfs + "/" + file;
    if (!used.contains(path)) HMVM_TRY(Unlink(path));
  }
  return {};
}

// The images with their names and paths filled in, by name; those without at the end.
Result<std::vector<Image>> ReadImages(const StoreFolder& folder, std::vector<Error>& broken) {
  HMVM_TRY_ASSIGN(const std::vector<NameFile> names, ReadAll<NameFile>(folder.names, &ParseNameFile, broken));
  HMVM_TRY_ASSIGN(std::vector<Image> images, ReadAll<Image>(folder.images, &ParseImageFile, broken));
  for (Image& image : images) {
    image.rootfs_path = folder.Rootfs(image.chain_id);
    for (const NameFile& name : names) {
      if (name.id == image.id) image.names.push_back(name.name);
    }
    std::sort(image.names.begin(), image.names.end());
  }
  std::sort(images.begin(), images.end(), [](const Image& a, const Image& b) {
    if (a.names.empty() != b.names.empty()) return b.names.empty();
    return a.names.empty() ? a.id < b.id : a.names[0] < b.names[0];
  });
  return images;
}

// What is broken matters where it may be what was asked for: the answer could be another without it.
Error NotFound(const std::string& name_or_id, std::vector<Error>& broken) {
  if (!broken.empty()) return Wrap("image '" + Escape(name_or_id) + "'", std::move(broken[0]));
  return Error{ENOENT, "image '" + Escape(name_or_id) + "' in the store"};
}

bool IsIdPrefix(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
}

struct Found {
  Image image;
  std::string name;  // by which it was found; empty when by id
};

Result<Found> FindImage(const StoreFolder& folder, const std::string& name_or_id) {
  std::vector<Error> broken;
  HMVM_TRY_ASSIGN(const std::vector<Image> images, ReadImages(folder, broken));
  const auto name = NormalizeName(name_or_id);
  if (name.has_value()) {
    for (const Image& image : images) {
      if (std::find(image.names.begin(), image.names.end(), *name) != image.names.end())
        return Found{image, *name};
    }
  }
  std::string_view digits = name_or_id;
  if (digits.starts_with(kAlgorithm)) digits.remove_prefix(kAlgorithm.size());
  std::vector<const Image*> candidates;
  if (IsIdPrefix(digits)) {
    for (const Image& image : images) {
      if (std::string_view(image.id).substr(kAlgorithm.size()).starts_with(digits))
        candidates.push_back(&image);
    }
  } else if (!name.has_value()) {
    return name.error();
  }
  if (candidates.empty()) return NotFound(name_or_id, broken);
  if (candidates.size() == 1) return Found{*candidates[0], ""};
  std::string all;
  for (const Image* image : candidates) {
    all += (all.empty() ? "" : ", ") + image->id.substr(kAlgorithm.size(), 12);
    if (!image->names.empty()) all += " (" + image->names[0] + ")";
  }
  return Error{0, "image id '" + name_or_id + "' is ambiguous: " + all};
}

}  // namespace

Result<ImageStore> ImageStore::Open(const std::string& dir) {
  HMVM_TRY(MakePrivateFolder(dir));
  // Also where it was there already: other users must not reach the setuid programs of an unpacked image.
  if (::chmod(dir.c_str(), 0700) < 0) return Error{errno, "set the mode of '" + dir + "'"};
  std::error_code failed;
  const std::filesystem::path absolute = std::filesystem::absolute(dir, failed);
  if (failed) return Error{failed.value(), "find '" + dir + "'"};
  const StoreFolder folder(absolute.string());
  for (const std::string& path : {folder.images, folder.names, folder.rootfs, folder.tmp})
    HMVM_TRY(MakeDirectory(path));
  auto lock = folder.Lock(LOCK_EX | LOCK_NB);
  if (lock.has_value()) {
    HMVM_TRY(folder.RemoveLeftovers());
  } else if (lock.error().code != EWOULDBLOCK) {
    return std::move(lock).error();
  }
  return ImageStore(absolute.string());
}

Result<Image> ImageStore::Find(const std::string& name_or_id) const {
  HMVM_TRY_ASSIGN(Found found, FindImage(StoreFolder(dir_), name_or_id));
  return std::move(found.image);
}

Result<std::vector<Image>> ImageStore::List(std::vector<Error>* broken) const {
  std::vector<Error> errors;
  HMVM_TRY_ASSIGN(std::vector<Image> images, ReadImages(StoreFolder(dir_), errors));
  if (broken == nullptr && !errors.empty()) return std::move(errors[0]);
  if (broken != nullptr) *broken = std::move(errors);
  return images;
}

Result<> ImageStore::Remove(const std::string& name_or_id, const MayGo& may_go) {
  const StoreFolder folder(dir_);
  HMVM_TRY_ASSIGN(const UniqueFd lock, folder.Lock(LOCK_EX));
  HMVM_TRY_ASSIGN(const Found found, FindImage(folder, name_or_id));
  const std::vector<std::string> names = found.name.empty() ? found.image.names : std::vector{found.name};
  const bool goes = names.size() == found.image.names.size();
  if (goes && may_go) HMVM_TRY(may_go(found.image));
  for (const std::string& name : names) HMVM_TRY(Unlink(folder.NameFile(name)));
  if (!goes) return {};
  HMVM_TRY(Unlink(folder.ImageFile(found.image.id)));
  return CollectRootfs(folder);
}

}  // namespace hmvm
