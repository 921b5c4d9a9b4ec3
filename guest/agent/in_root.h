// Paths inside a container's root that the agent makes before the container runs. The image is untrusted:
// every lookup stays below the root, whatever links it holds (openat2(2), RESOLVE_IN_ROOT).
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

enum class FileKind { kDirectory, kFile };

// An O_PATH descriptor of `path` below `root`, made with its parents (directories 0755, files empty, 0644)
// when it is absent.
Result<UniqueFd> EnsureInRoot(int root, const std::string& path, FileKind kind);

// mount(2) onto what `target` refers to. Needs /proc.
Result<> MountOn(int target, const std::string& source, const std::string& type, unsigned long flags,
                 const std::string& data);

}  // namespace hmvm::agent
