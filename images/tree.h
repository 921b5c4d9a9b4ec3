#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// One member of a layer. `path` and the link's target are as CleanPath returns them, except that a symbolic
// link's target is any text.
struct TreeEntry {
  enum class Kind { kFile, kHardLink, kSymlink, kDirectory, kNode };

  Kind kind = Kind::kFile;
  std::string path;    // "" is the root
  std::string target;  // of links
  mode_t mode =
      0;  // permission bits, setuid, setgid, sticky; for kNode also the type (S_IFCHR, S_IFBLK, S_IFIFO)
  uid_t uid = 0;
  gid_t gid = 0;
  timespec mtime = {};
  dev_t device = 0;  // of kNode
  std::vector<std::pair<std::string, std::string>> xattrs;
};

// A path as a tar has it ("./usr//bin/", "/etc"), as seen from the tree's root: "usr/bin", "etc", "" for the
// root itself. Refused: "..", names beyond 255 bytes, more than 256 names, more than 3000 bytes in all.
Result<std::string> CleanPath(std::string_view path);

// Lays the layers of an image over each other in one directory. Whatever the entries say, nothing outside
// that directory is read or changed: parents are resolved by the kernel with the directory as the root (so
// that links like /lib -> usr/lib work as within the container), last components are never followed. Nobody
// else may work in the directory meanwhile. One thread.
class TreeWriter {
 public:
  // `root`: an empty directory, `trash`: another one on the same file system, to be emptied by the caller.
  TreeWriter(UniqueFd root, UniqueFd trash) : root_(std::move(root)), trash_(std::move(trash)) {}

  // Whiteouts that follow remove what earlier layers brought, not what this one does.
  void BeginLayer() { touched_.clear(); }

  // Replaces what is at entry.path, except that a directory stays and takes the new attributes.
  Result<> Add(const TreeEntry& entry);
  // The same for kFile, in two steps: the content is written to the descriptor between them.
  Result<UniqueFd> CreateFile(const TreeEntry& entry);
  Result<> FinishFile(int fd, const TreeEntry& entry);

  // image-spec, layer.md: `path` itself, or all that is in the directory `path`, of the layers below this
  // one.
  Result<> Whiteout(const std::string& path);
  Result<> OpaqueWhiteout(const std::string& path);

  // After the last layer: gives the directories their times and default ACLs, which would have changed while
  // their content was made. Directories that no layer has an entry for are dated 1970, not today: images are
  // reproducible.
  Result<> Finish();

 private:
  // What a directory gets at last.
  struct Late {
    timespec mtime = {};
    std::string default_acl;
  };

  Result<int> OpenParent(const std::string& path, bool create);
  Result<UniqueFd> OpenDirectory(const std::string& path) const;
  Result<> MakeParents(const std::string& directory);
  Result<> MakeRoom(int parent, const std::string& name, const TreeEntry& entry);
  Result<> AddDirectory(int parent, const std::string& name, const TreeEntry& entry);
  Result<> AddHardLink(int parent, const std::string& name, const TreeEntry& entry);
  Result<> AddSymlinkOrNode(int parent, const std::string& name, const TreeEntry& entry);
  Result<> SetDirectory(int fd, const TreeEntry& entry, bool existed);
  Result<> SetXattrs(const std::string& proc_path, const TreeEntry& entry) const;
  Result<> Discard(int parent, const std::string& name);
  Result<> RemoveLower(int parent, const std::string& name, const std::string& path);
  Result<> RemoveLowerChildren(int directory, const std::string& path);
  void Touch(const std::string& path);

  UniqueFd root_;
  UniqueFd trash_;
  uint64_t trash_count_ = 0;
  std::string parent_path_;  // of `parent_`: entries mostly follow their siblings
  UniqueFd parent_;
  std::unordered_set<std::string> touched_;  // paths that this layer has made or has made something below
  std::map<std::string, Late> directories_;
};

}  // namespace hmvm
