// Devices of the guest that a container gets beyond the usual ones.
#pragma once

#include <string>

#include "base/result.h"

namespace hmvm::agent {

// Makes the agent's `path` ("/dev/fuse"), a device, in /dev below `root`, a directory, with its owner and
// mode. EINVAL: no path below /dev; ENOENT, ENODEV: there is no such device.
Result<> AddGuestDevice(int root, const std::string& path);

// All there are; those that are there already stay.
Result<> AddGuestDevices(int root);

}  // namespace hmvm::agent
