#pragma once

#include <span>
#include <string>
#include <string_view>

namespace hmvm {

// For the end of an error about an unknown name: "; did you mean 'x'?" with the known name that is nearest to
// it, or nothing when none is near. Compared by bytes.
std::string DidYouMean(std::string_view name, std::span<const std::string_view> known);

}  // namespace hmvm
