// Which devices a container may use: the usual ones, and those of the guest that it gets beyond them.
#pragma once

#include <span>
#include <string>

#include "base/device_rules.h"
#include "base/result.h"

namespace hmvm::agent {

// docker's: nodes of all devices may be made, only those without an owner, and terminals, be opened.
std::span<const DeviceRule> UsualDevices();

// For the agent's `path`; errors as of AddGuestDevice.
Result<DeviceRule> RuleForGuestDevice(const std::string& path);

// Makes the agent's `path` ("/dev/fuse"), a device, in /dev below `root`, a directory, with its owner and
// mode. EINVAL: no path below /dev; ENOENT, ENODEV: there is no such device.
Result<> AddGuestDevice(int root, const std::string& path);

// All there are; those that are there already stay.
Result<> AddGuestDevices(int root);

}  // namespace hmvm::agent
