// The capabilities of a container, by docker's options.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hmvm {

// docker's default set.
uint64_t DefaultCapabilities();

// "NET_ADMIN", "cap_net_admin", and "ALL" for all there are. An error names what is none, and the nearest
// that is.
Result<uint64_t> ParseCapability(std::string_view text);

// `given`, with `add` and `drop` as of --cap-add and --cap-drop: ALL among what is added leaves all but what
// is dropped, ALL among what is dropped leaves what is added; else what is added wins. An error begins with
// the option.
Result<uint64_t> ApplyCapabilityOptions(uint64_t given, const std::vector<std::string>& add,
                                        const std::vector<std::string>& drop);

}  // namespace hmvm
