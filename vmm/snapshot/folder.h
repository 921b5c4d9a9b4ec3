// Snapshots as they lie on disk. A folder is a whole one: machine.pb, memory, and the small files of whoever
// keeps it. Of a diff it has the memory of those that it builds on, too: memory.0, the full one, memory.1 and
// so on (hard links, as a rule).
#pragma once

#include <string>

#include "base/result.h"

namespace hmvm {

// Nothing half-made is left behind after an error or in a crash: output has another name, or none, until it
// is whole and on the disk.

// One file (archive.h) of all that the folder has, the chain's memory as one. A file of that name is
// replaced.
Result<> ExportSnapshot(const std::string& folder, const std::string& archive);
// The same into an open file, or pipe.
Result<> ExportSnapshotTo(const std::string& folder, int out, const std::string& name);
// EEXIST: there is such a folder, and it is not empty. The error says what is wrong with the archive.
Result<> ImportSnapshot(const std::string& archive, const std::string& folder);
// A full snapshot in place of a chain.
Result<> MergeSnapshot(const std::string& folder, const std::string& merged);
// What a person wants to know of an archive, and its small files, as JSON.
Result<std::string> InspectArchive(const std::string& archive);

}  // namespace hmvm
