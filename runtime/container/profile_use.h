// What a security profile comes to for one container.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/container/confinement.h"
#include "runtime/container/record.h"
#include "security/profile/profile.h"

namespace hmvm {

// What a container has before its options are looked at.
Confinement DefaultsOf(const SecurityProfile& profile);

// Holds `config` to the profile's ceilings: where nothing was asked for, a ceiling becomes the limit. An
// error names option, ceiling and profile.
Result<> ApplyCeilings(const ResourceCeilings& ceilings, ContainerConfig& config);

// The profile that the container was made with.
Result<SecurityProfile> ProfileOf(const ContainerConfig& config);

// All that the filter and the guard of the container's VMM need of it.
Result<VmmPolicy> VmmPolicyOf(const ContainerConfig& config);

}  // namespace hmvm
