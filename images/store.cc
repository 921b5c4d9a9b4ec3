#include "images/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>

#include "base/escape.h"
#include "base/file.h"
#include "images/digest.h"
#include "images/import.h"
#include "images/metadata.h"
#include "images/name.h"
#include "images/remove_tree.h"

namespace hmvm {
namespace {

constexpr std::string_view kJson = ".json";
constexpr std::string_view kErofs = ".erofs";
constexpr std::string_view kAlgorithm = "sha256:";

struct Layout {
  explicit Layout(const std::string& dir)
      : lock(dir + "/lock"),
        images(dir + "/images"),
        names(dir + "/names"),
        rootfs(dir + "/rootfs"),
        tmp(dir + "/tmp") {}

  std::string ImageFile(const std::string& id) const {
    return images + "/" + id.substr(kAlgorithm.size()) + std::string(kJson);
  }
  std::string NameFile(const std::string& name) const { return names + "/" + NameFileName(name); }
  std::string Rootfs(const std::string& chain_id) const {
    return rootfs + "/" + chain_id.substr(kAlgorithm.size()) + std::string(kErofs);
  }

  std::string lock, images, names, rootfs, tmp;
};

std::string Join(const std::string& directory, const std::string& file) { return directory + "/" + file; }

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

Result<std::vector<std::string>> FilesIn(const std::string& path) {
  const std::unique_ptr<DIR, CloseDirectory> directory(::opendir(path.c_str()));
  if (!directory) return Error{errno, "open directory '" + path + "'"};
  std::vector<std::string> files;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.') files.emplace_back(entry->d_name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

Result<> Unlink(const std::string& path) {
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return Error{errno, "remove '" + path + "'"};
  return {};
}

Result<> MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST)
    return Error{errno, "make directory '" + path + "'"};
  return {};
}

// Reads all of one directory's documents; what cannot be read is told and passed over.
template <typename Document>
Result<std::vector<Document>> ReadAll(const std::string& directory,
                                      Result<Document> (*parse)(std::string_view),
                                      std::vector<Error>& broken) {
  HMVM_TRY_ASSIGN(const std::vector<std::string> files, FilesIn(directory));
  std::vector<Document> documents;
  for (const std::string& file : files) {
    if (!file.ends_with(kJson)) continue;  // WriteFileAtomic's work in progress
    const std::string path = Join(directory, file);
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

Result<UniqueFd> Lock(const Layout& layout, int operation) {
  HMVM_TRY_ASSIGN(UniqueFd fd, OpenFile(layout.lock, O_RDWR | O_CREAT, 0600));
  while (::flock(fd.get(), operation) < 0) {
    if (errno != EINTR) return Error{errno, "lock '" + layout.lock + "'"};
  }
  return fd;
}

// All that no finished operation has left: with the lock held nobody is at work.
Result<> RemoveLeftovers(const Layout& layout) {
  HMVM_TRY_ASSIGN(const UniqueFd tmp, OpenFile(layout.tmp, O_RDONLY | O_DIRECTORY));
  HMVM_TRY(RemoveContents(tmp.get()));
  for (const std::string& directory : {layout.images, layout.names}) {
    HMVM_TRY_ASSIGN(const std::vector<std::string> files, FilesIn(directory));
    for (const std::string& file : files) {
      if (!file.ends_with(kJson)) HMVM_TRY(Unlink(Join(directory, file)));
    }
  }
  return {};
}

// Removes the EROFS files that no image uses. While an image's metadata is broken all stay: one may be its.
Result<> CollectRootfs(const Layout& layout) {
  std::vector<Error> broken;
  HMVM_TRY_ASSIGN(const std::vector<Image> images, ReadAll<Image>(layout.images, &ParseImageFile, broken));
  if (!broken.empty()) return {};
  std::set<std::string> used;
  for (const Image& image : images) used.insert(layout.Rootfs(image.chain_id));
  HMVM_TRY_ASSIGN(const std::vector<std::string> files, FilesIn(layout.rootfs));
  for (const std::string& file : files) {
    const std::string path = Join(layout.rootfs, file);
    if (!used.contains(path)) HMVM_TRY(Unlink(path));
  }
  return {};
}

// The images with their names and paths filled in, by name; those without at the end.
Result<std::vector<Image>> ReadImages(const Layout& layout, std::vector<Error>& broken) {
  HMVM_TRY_ASSIGN(const std::vector<NameFile> names, ReadAll<NameFile>(layout.names, &ParseNameFile, broken));
  HMVM_TRY_ASSIGN(std::vector<Image> images, ReadAll<Image>(layout.images, &ParseImageFile, broken));
  for (Image& image : images) {
    image.rootfs_path = layout.Rootfs(image.chain_id);
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

Result<Found> FindImage(const Layout& layout, const std::string& name_or_id) {
  std::vector<Error> broken;
  HMVM_TRY_ASSIGN(const std::vector<Image> images, ReadImages(layout, broken));
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
  std::error_code failed;
  const std::filesystem::path absolute = std::filesystem::absolute(dir, failed);
  if (!failed) std::filesystem::create_directories(absolute.parent_path(), failed);
  if (failed) return Error{failed.value(), "make the parents of '" + dir + "'"};
  HMVM_TRY(MakeDirectory(dir));
  // Also where it was there already: other users must not reach the setuid programs of an unpacked image.
  if (::chmod(dir.c_str(), 0700) < 0) return Error{errno, "set the mode of '" + dir + "'"};
  const Layout layout(absolute.string());
  for (const std::string& path : {layout.images, layout.names, layout.rootfs, layout.tmp})
    HMVM_TRY(MakeDirectory(path));
  auto lock = Lock(layout, LOCK_EX | LOCK_NB);
  if (lock.has_value()) {
    HMVM_TRY(RemoveLeftovers(layout));
  } else if (lock.error().code != EWOULDBLOCK) {
    return std::move(lock).error();
  }
  return ImageStore(absolute.string());
}

Result<Image> ImageStore::Import(const std::string& path, const std::string& name) {
  const Layout layout(dir_);
  std::string wanted;
  if (!name.empty()) {
    HMVM_TRY_ASSIGN(wanted, NormalizeName(name));
  }
  HMVM_TRY_ASSIGN(const UniqueFd lock, Lock(layout, LOCK_EX));
  HMVM_TRY(RemoveLeftovers(layout));
  const std::string work_dir = layout.tmp + "/import";
  HMVM_TRY(MakeDirectory(work_dir));
  auto imported = ImportImage(path, work_dir, layout.rootfs, wanted);
  HMVM_TRY(RemoveLeftovers(layout));
  if (!imported.has_value()) {
    const std::string where = imported.error().code == ENOSPC ? " into '" + dir_ + "'" : "";
    return Wrap("import '" + path + "'" + where, std::move(imported).error());
  }

  Image& image = imported->image;
  struct stat status = {};
  if (::stat(image.rootfs_path.c_str(), &status) < 0) return Error{errno, "stat '" + image.rootfs_path + "'"};
  image.size_bytes = static_cast<uint64_t>(status.st_size);
  // The name last: what is found by a name is complete. An error here leaves at most an image without a name.
  HMVM_TRY(WriteFileAtomic(layout.ImageFile(image.id), FormatImageFile(image), 0600));
  const std::vector<std::string> names = wanted.empty() ? imported->names : std::vector<std::string>{wanted};
  for (const std::string& item : names) {
    HMVM_TRY(WriteFileAtomic(layout.NameFile(item), FormatNameFile({.name = item, .id = image.id}), 0600));
  }
  return Find(image.id);
}

Result<Image> ImageStore::Find(const std::string& name_or_id) const {
  HMVM_TRY_ASSIGN(Found found, FindImage(Layout(dir_), name_or_id));
  return std::move(found.image);
}

Result<std::vector<Image>> ImageStore::List(std::vector<Error>* broken) const {
  std::vector<Error> errors;
  HMVM_TRY_ASSIGN(std::vector<Image> images, ReadImages(Layout(dir_), errors));
  if (broken == nullptr && !errors.empty()) return std::move(errors[0]);
  if (broken != nullptr) *broken = std::move(errors);
  return images;
}

Result<> ImageStore::Remove(const std::string& name_or_id) {
  const Layout layout(dir_);
  HMVM_TRY_ASSIGN(const UniqueFd lock, Lock(layout, LOCK_EX));
  HMVM_TRY_ASSIGN(const Found found, FindImage(layout, name_or_id));
  const std::vector<std::string> names = found.name.empty() ? found.image.names : std::vector{found.name};
  for (const std::string& name : names) HMVM_TRY(Unlink(layout.NameFile(name)));
  if (names.size() < found.image.names.size()) return {};
  HMVM_TRY(Unlink(layout.ImageFile(found.image.id)));
  return CollectRootfs(layout);
}

}  // namespace hmvm
