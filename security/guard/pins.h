// Where the guard lives when nobody has it open:
//   <pins>/1/{vms,policies,rings}      its maps; 1 is GUARD_WIRE
//   <pins>/1/<version>/<layer>/<name>  its programs' links, a folder a layer
// A folder below `loading` is half made: whoever has the lock next removes it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// Where bpffs is, and our folder in it. Tests take another folder.
inline constexpr char kGuardPins[] = "/sys/fs/bpf/hmvm";

class GuardPins {
 public:
  explicit GuardPins(std::string folder = kGuardPins);

  // Links that are pinned in a folder are detached when it is removed, unless somebody has them open.
  std::string Map(const std::string& name) const { return wire_ + "/" + name; }
  std::string Version(const std::string& version) const { return wire_ + "/" + version; }
  std::string Loading() const { return wire_ + "/loading"; }

  // Mounts bpffs where there is none, makes the folders, and waits for the lock, which is held as long as the
  // descriptor is open. ENOENT: with `make` false, there is nothing.
  Result<UniqueFd> Lock(bool make) const;

  // The names of the versions whose programs are attached.
  std::vector<std::string> Versions() const;
  std::vector<std::string> LayersOf(const std::string& version) const;

  // Removes all of the guard. With the lock.
  void RemoveAll() const;

 private:
  std::string folder_;
  std::string wire_;
};

}  // namespace hmvm
