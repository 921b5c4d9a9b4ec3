#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hmvm {

// The one spelling of an image's name that the store keeps: with a tag ("busybox" -> "busybox:latest") and
// without docker's default registry ("docker.io/library/busybox" -> "busybox"). Letters, digits and "._-/:",
// at most 200 bytes, lower-case repository as everywhere; anything else is an error.
Result<std::string> NormalizeName(std::string_view name);

// What an image that only carries a tag, or no name at all, is called: after the directory or archive it came
// from
// ("out/busybox.tar" -> "busybox"). Empty when that is no valid name.
std::string NameFromPath(std::string_view path);

}  // namespace hmvm
