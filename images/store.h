#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "images/image.h"

namespace hmvm {

// The images of one installation: a directory with one JSON file an image and a name, and one EROFS file a
// chain of layers. Any number of processes may use a store at a time: what changes it takes the directory's
// lock, what reads sees each file whole. Objects of this class hold no descriptors and may be used by several
// threads.
class ImageStore {
 public:
  // Makes `dir` (mode 0700: images bring setuid programs and device nodes) and its parents if they are not
  // there, and removes what an import that was killed has left.
  static Result<ImageStore> Open(const std::string& dir);

  // Takes one linux/amd64 image from an OCI layout directory, an OCI archive or a `docker save` archive,
  // whose layers may be plain, gzip or zstd. Its name is `name`, or the one that the image carries, or that
  // of the directory or file. A name held by another image moves to this one. `name` also selects where
  // `path` holds several images. On every error the store is as before.
  Result<Image> Import(const std::string& path, const std::string& name = "");

  // By name ("busybox" is "busybox:latest", "docker.io/library/busybox" too) or by any beginning of an id.
  // Code ENOENT when there is none; an ambiguous beginning is an error that lists the candidates.
  Result<Image> Find(const std::string& name_or_id) const;

  // All images, by name. One whose metadata cannot be read does not hide the others: its error, which names
  // the file, goes to `broken`; without `broken` it is the result.
  Result<std::vector<Image>> List(std::vector<Error>* broken = nullptr) const;

  // Drops a name, or by id the image with all its names. The image goes with its last name, the EROFS file
  // with its last image; who has that file open keeps it. Code ENOENT when there is none. Before an image
  // goes `may_go` is asked, whose error keeps it, with the name.
  using MayGo = std::function<Result<>(const Image&)>;
  Result<> Remove(const std::string& name_or_id, const MayGo& may_go = {});

 private:
  explicit ImageStore(std::string dir) : dir_(std::move(dir)) {}

  std::string dir_;
};

}  // namespace hmvm
