// Any bytes as a bzImage (parse, load into a small guest, unpack), and as the compressed kernel in a good
// one.
#include <algorithm>
#include <cstring>
#include <vector>

#include "vmm/boot/bzimage.h"
#include "vmm/boot/bzimage_payload.h"
#include "vmm/boot/testing/setup_header.h"

namespace {

// The magic numbers are given, so that the fuzzer gets beyond them at once.
void FuzzFile(const uint8_t* data, size_t size) {
  static const hmvm::GuestMemory memory = hmvm::GuestMemory::Create(4 << 20).value();
  std::vector<std::byte> file(std::max<size_t>(size, sizeof(boot_params)));
  std::memcpy(file.data(), data, size);
  const uint16_t boot_flag = 0xaa55;
  const uint32_t magic = 0x53726448;
  std::memcpy(file.data() + offsetof(boot_params, hdr.boot_flag), &boot_flag, sizeof(boot_flag));
  std::memcpy(file.data() + offsetof(boot_params, hdr.header), &magic, sizeof(magic));
  const auto image = hmvm::BzImage::Parse(file);
  if (image.has_value()) static_cast<void>(image->Load(memory));
  static_cast<void>(hmvm::UnpackVmlinux(file));
}

void FuzzCompressedKernel(const uint8_t* data, size_t size) {
  setup_header header = hmvm::MakeTestSetupHeader();
  header.payload_length = static_cast<uint32_t>(size);
  std::vector<std::byte> file(hmvm::kTestSetUpBytes + size);
  std::memcpy(file.data() + offsetof(boot_params, hdr), &header, sizeof(header));
  std::memcpy(file.data() + hmvm::kTestSetUpBytes, data, size);
  static_cast<void>(hmvm::UnpackVmlinux(file));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzFile(data, size);
  FuzzCompressedKernel(data, size);
  return 0;
}
