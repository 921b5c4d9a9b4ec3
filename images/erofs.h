#pragma once

#include <string>

#include "base/result.h"
#include "images/digest.h"

namespace hmvm {

// Makes the EROFS file `output` of the directory `tree` and syncs it. Times, owners, modes, xattrs and hard
// links are kept; the same tree and `key` give the same bytes (the volume's UUID comes from `key`, its own
// time is fixed). Needs mkfs.erofs (Debian: erofs-utils). The caller removes `output` on an error.
Result<> MakeErofs(const std::string& tree, const std::string& output, const Digest& key);

}  // namespace hmvm
