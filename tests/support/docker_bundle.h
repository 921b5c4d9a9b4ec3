// A bundle for an OCI runtime as docker makes it by default: what our own containers are compared with.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "security/container/seccomp_profile.h"

namespace hmvm::test {

// In `folder`, which is made: config.json, and the root file system of the OCI layout `layout`. docker's
// capabilities, mounts, paths and devices are written down here once more, not taken from our own code;
// `seccomp` is compiled by the runtime.
void MakeDockerBundle(const std::filesystem::path& folder, const std::filesystem::path& layout,
                      const std::vector<std::string>& arguments, const SeccompProfile& seccomp);

}  // namespace hmvm::test
