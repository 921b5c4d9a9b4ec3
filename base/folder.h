// Folders: made for us alone, and removed with all that is in them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hmvm {

// Makes it, and those above it, where they are not there: nobody else can look into what it makes (0700). A
// folder that is there stays as it is.
Result<> MakePrivateFolder(const std::string& path);

// What is in it, in order; nothing where there is no such folder, or no longer.
Result<std::vector<std::string>> NamesIn(const std::string& path);

// No error where there is none.
Result<> RemoveTree(const std::string& path);

}  // namespace hmvm
