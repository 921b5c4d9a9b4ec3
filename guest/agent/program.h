#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hmvm::agent {

// An error of the system as a part of docker's sentences: "permission denied".
std::string Reason(int errno_value);

// The file to execute for args[0], as the calling process sees it: a name without a slash is looked up in
// `path` (its empty parts mean the working directory). ENOENT: none; EACCES: a file with a slash in its name
// that may not be executed, or a directory. The messages are docker's.
Result<std::string> FindProgram(const std::string& name, std::string_view path);

}  // namespace hmvm::agent
