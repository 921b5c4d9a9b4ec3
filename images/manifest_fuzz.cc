// Every document of an image, from hostile text: the first byte chooses which.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "images/manifest.h"
#include "images/metadata.h"
#include "images/name.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace hmvm;
  if (size_bytes == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size_bytes - 1);
  switch (data[0] % 7) {
    case 0:
      (void)ParseIndex(text);
      break;
    case 1:
      (void)ParseManifest(text);
      break;
    case 2:
      // What one store has written, it can read back.
      if (const auto file = ParseConfigFile(text)) {
        const std::string digest = "sha256:" + std::string(64, '0');
        const Image image{.id = digest,
                          .names = {},
                          .chain_id = digest,
                          .rootfs_path = "",
                          .size_bytes = 1,
                          .created = file->created,
                          .architecture = file->architecture,
                          .config = file->config};
        const auto read = ParseImageFile(FormatImageFile(image));
        if (!read.has_value() || !(read->config == file->config)) __builtin_trap();
      }
      break;
    case 3:
      (void)ParseDockerManifest(text);
      break;
    case 4:
      (void)ParseImageFile(text);
      break;
    case 5:
      (void)ParseNameFile(text);
      break;
    default:
      // One spelling is the end of it, and no name leads out of the store's directory.
      if (const auto name = NormalizeName(text)) {
        const auto again = NormalizeName(*name);
        if (!again.has_value() || *again != *name || NameFileName(*name).find('/') != std::string::npos)
          __builtin_trap();
      }
  }
  return 0;
}
