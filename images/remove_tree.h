#pragma once

#include <string>

#include "base/result.h"

namespace hmvm {

// Removes `name` below the directory `dir`, whatever it is and however deep, following no symbolic link.
// Needs neither recursion nor long paths: directories that are not empty are first moved up into `dir`
// itself, under names that begin with ".rm-". Nobody else may work in `dir` meanwhile. No error when there is
// no `name`.
Result<> RemoveTree(int dir, const std::string& name);

// Removes all that is in the directory `dir`.
Result<> RemoveContents(int dir);

}  // namespace hmvm
