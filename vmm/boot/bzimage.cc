#include "vmm/boot/bzimage.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace hmvm {
namespace {

constexpr size_t kHeaderOffset = offsetof(boot_params, hdr);  // 0x1f1, the same in file and boot_params
constexpr uint16_t kBootFlag = 0xaa55;
constexpr uint32_t kMagic = 0x53726448;      // "HdrS"
constexpr uint16_t kOldestVersion = 0x020c;  // the first with xloadflags
constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kHighestAddress = 1ULL << 32;

// The header is at most what the file has: all fields below were there before protocol 2.12.
setup_header ReadHeader(std::span<const std::byte> file) {
  setup_header header = {};
  std::memcpy(&header, file.data() + kHeaderOffset, std::min(sizeof(header), file.size() - kHeaderOffset));
  return header;
}

Error Malformed(const std::string& what) { return Error{ENOEXEC, what}; }

}  // namespace

bool BzImage::IsBzImage(std::span<const std::byte> file) {
  if (file.size() < kHeaderOffset + sizeof(setup_header)) return false;
  const setup_header header = ReadHeader(file);
  return header.boot_flag == kBootFlag && header.header == kMagic;
}

Result<BzImage> BzImage::Parse(std::span<const std::byte> file) {
  if (!IsBzImage(file)) return Malformed("not a bzImage");
  BzImage image;
  image.header_ = ReadHeader(file);
  const setup_header& header = image.header_;
  if (header.version < kOldestVersion) return Malformed("bzImage's boot protocol is older than 2.12");
  if ((header.loadflags & LOADED_HIGH) == 0) return Malformed("bzImage wants to be loaded below 1 MiB");
  if ((header.xloadflags & XLF_KERNEL_64) == 0) return Malformed("bzImage has no 64-bit entry point");

  const uint64_t sectors = header.setup_sects == 0 ? 4 : header.setup_sects;
  const uint64_t setup_bytes = (sectors + 1) * kSectorBytes;  // the boot sector comes before them
  if (setup_bytes >= file.size()) return Malformed("bzImage is truncated in its setup code");
  image.payload_ = file.subspan(setup_bytes);
  if (uint64_t{header.syssize} * 16 > image.payload_.size()) return Malformed("bzImage is truncated");

  image.memory_bytes_ = std::max<uint64_t>(header.init_size, image.payload_.size());
  if (header.pref_address < (1 << 20) || header.pref_address >= kHighestAddress ||
      image.memory_bytes_ > kHighestAddress - header.pref_address) {
    return Malformed("bzImage's load address is outside 1 MiB..4 GiB");
  }
  return image;
}

Result<std::span<const std::byte>> BzImage::CompressedKernel() const {
  const uint64_t offset = header_.payload_offset, size = header_.payload_length;
  if (offset > payload_.size() || size > payload_.size() - offset) {
    return Malformed("bzImage's compressed kernel lies outside the file");
  }
  return payload_.subspan(offset, size);
}

Result<> BzImage::Load(const GuestMemory& memory) const {
  if (!memory.Slice(GuestAddress{load_address()}, memory_bytes_).has_value()) {
    return Error{EFAULT, "bzImage needs guest memory up to " + std::to_string(memory_end() >> 20) + " MiB"};
  }
  memory.PreferHugePages(GuestAddress{load_address()}, memory_bytes_);
  return memory.WriteBytes(GuestAddress{load_address()}, payload_);
}

}  // namespace hmvm
