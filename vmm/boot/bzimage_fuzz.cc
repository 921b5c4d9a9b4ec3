// Any bytes as a bzImage: parse, load into a small guest, unpack.
#include <algorithm>
#include <cstring>
#include <vector>

#include "vmm/boot/bzimage.h"
#include "vmm/boot/bzimage_payload.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const hmvm::GuestMemory memory = hmvm::GuestMemory::Create(4 << 20).value();
  // The magic numbers are given, so that the fuzzer gets beyond them at once.
  std::vector<std::byte> file(std::max<size_t>(size, sizeof(boot_params)));
  std::memcpy(file.data(), data, size);
  const uint16_t boot_flag = 0xaa55;
  const uint32_t magic = 0x53726448;
  std::memcpy(file.data() + offsetof(boot_params, hdr.boot_flag), &boot_flag, sizeof(boot_flag));
  std::memcpy(file.data() + offsetof(boot_params, hdr.header), &magic, sizeof(magic));
  const auto image = hmvm::BzImage::Parse(file);
  if (image.has_value()) static_cast<void>(image->Load(memory));
  static_cast<void>(hmvm::UnpackVmlinux(file));
  return 0;
}
