// A container's root: the image below, a writable layer above, and what OCI runtimes mount into it by
// default.
#pragma once

#include <string>

#include "base/result.h"
#include "guest/agent/identity.h"
#include "guest/api/agent.pb.h"

namespace hmvm::agent {

// Mounts DIRECTORY/lower, DIRECTORY/upper and, of both, DIRECTORY/root in the agent's own mount namespace.
// Nothing stays mounted after an error.
Result<> MountLayers(const std::string& directory, const v1::Rootfs& rootfs);
void UnmountLayers(const std::string& directory);

// Fills DIRECTORY/root and makes it the root of the calling process, which is in new mount, uts and cgroup
// namespaces already: devices, default mounts except /proc (that needs the container's pid namespace), the
// request's mounts, the files of its identity.
Result<> EnterContainerRoot(const std::string& directory, const v1::CreateContainerRequest& request,
                            const Identity& identity);

// Mounts /proc and hides what docker hides of /proc and /sys, unless that is to be `open`; for the first
// process of the container, once its root has been entered.
Result<> MountProc(bool open);

}  // namespace hmvm::agent
