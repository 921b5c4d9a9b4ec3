// A store's files (README.md), and what reading and importing images share of working with them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

struct StoreFolder {
  static constexpr std::string_view kJson = ".json";
  static constexpr std::string_view kAlgorithm = "sha256:";

  explicit StoreFolder(const std::string& dir)
      : lock(dir + "/lock"),
        images(dir + "/images"),
        names(dir + "/names"),
        rootfs(dir + "/rootfs"),
        tmp(dir + "/tmp") {}

  std::string ImageFile(const std::string& id) const;
  std::string NameFile(const std::string& name) const;
  std::string Rootfs(const std::string& chain_id) const;

  // flock(2) with `operation`.
  Result<UniqueFd> Lock(int operation) const;
  // All that no finished operation has left: with the lock held nobody is at work.
  Result<> RemoveLeftovers() const;

  std::string lock, images, names, rootfs, tmp;
};

// The names of those that are not hidden, sorted.
Result<std::vector<std::string>> FilesIn(const std::string& path);
// Done also when it was there, or was not.
Result<> MakeDirectory(const std::string& path);
Result<> Unlink(const std::string& path);

}  // namespace hmvm
