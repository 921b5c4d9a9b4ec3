#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "images/digest.h"
#include "images/tree.h"

namespace hmvm {

enum class Compression { kPlain, kGzip, kZstd, kDetect };

// What one image may unpack to. The defaults are far above real images and far below a full disk of a server.
struct TreeLimits {
  uint64_t max_bytes = uint64_t{32} << 30;  // of file content, holes included: EROFS stores them
  uint64_t max_entries = 4'000'000;
};

// What has passed of TreeLimits; one object for all layers of an image.
struct TreeUsage {
  uint64_t bytes = 0;
  uint64_t entries = 0;
};

// What was read, to be compared with what the image promises.
struct LayerDigests {
  Digest blob;     // of the file as it is
  Digest content;  // of the tar in it: the diff id
};

// Unpacks the tar (ustar, pax, GNU) in the file `fd`, from its start, over `tree`. Whiteouts are honoured.
// Nothing is trusted before its digest is compared, so the caller throws the tree away when the digests
// differ. Errors say which member is bad; the caller adds the layer's name.
Result<LayerDigests> ApplyLayer(int fd, Compression compression, TreeWriter& tree, const TreeLimits& limits,
                                TreeUsage& usage);

}  // namespace hmvm
