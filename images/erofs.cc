#include "images/erofs.h"

#include <unistd.h>

#include "base/escape.h"
#include "base/file.h"
#include "base/process.h"

namespace hmvm {
namespace {

// RFC 9562 version 8 (custom): the digest's first bits.
std::string UuidOf(const Digest& key) {
  const std::string& hex = key.hex;
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-8" + hex.substr(13, 3) + "-8" + hex.substr(17, 3) +
         "-" + hex.substr(20, 12);
}

}  // namespace

Result<> MakeErofs(const std::string& tree, const std::string& output, const Digest& key) {
  // mkfs.erofs 1.5 gives every file the time of -T, even with --preserve-mtime. SOURCE_DATE_EPOCH is a fixed
  // time for the volume too, but for files an upper bound: the largest that the format's tools take keeps
  // them all.
  HMVM_TRY_ASSIGN(const CommandResult result,
                  RunCommand({"/usr/bin/env", "SOURCE_DATE_EPOCH=4294967295", "mkfs.erofs", "--quiet", "-U",
                              UuidOf(key), output, tree}));
  if (result.exit_code == 127) return Error{ENOENT, "mkfs.erofs (install Debian's package erofs-utils)"};
  if (result.exit_code != 0) {
    // The last bytes of its output tell the reason; a full disk is the one that deserves its own code.
    const std::string tail =
        result.output.substr(result.output.size() - std::min<size_t>(result.output.size(), 200));
    const bool full = result.output.find("No space left") != std::string::npos;
    return Error{full ? ENOSPC : 0,
                 "mkfs.erofs failed (" + std::to_string(result.exit_code) + "): " + Escape(tail)};
  }
  HMVM_TRY_ASSIGN(const UniqueFd fd, OpenFile(output, O_RDONLY));
  if (::fdatasync(fd.get()) < 0) return Error{errno, "sync '" + output + "'"};
  return {};
}

}  // namespace hmvm
