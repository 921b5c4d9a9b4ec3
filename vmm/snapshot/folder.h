// Snapshots as they lie on disk: folders with machine.pb, memory, and the small files of whoever keeps them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hmvm {

// In all of these `folders` are a chain, the full snapshot first; what comes out is as the last of them was.
// Nothing half-made is left behind after an error or in a crash: output has another name until it is whole
// and on the disk.

// One file (archive.h) of all that the last folder has, with all of its memory.
Result<> ExportSnapshot(const std::vector<std::string>& folders, const std::string& archive);
// EEXIST: there is such a folder. The error says what is wrong with the archive.
Result<> ImportSnapshot(const std::string& archive, const std::string& folder);
// A full snapshot in place of the chain.
Result<> MergeSnapshots(const std::vector<std::string>& folders, const std::string& folder);

}  // namespace hmvm
