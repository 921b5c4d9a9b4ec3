#include "vmm/boot/kernel.h"

#include "vmm/boot/bzimage.h"
#include "vmm/boot/elf.h"

namespace hmvm {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// What Linux takes for page structures, per-CPU areas, slabs and the first processes before it runs short.
constexpr uint64_t kWorkingBytes = 24 * kMiB;

// The end of the kernel as it lies in memory before it runs.
Result<uint64_t> KernelEnd(std::span<const std::byte> kernel) {
  if (ElfImage::IsElf(kernel)) {
    HMVM_TRY_ASSIGN(const ElfImage image, ElfImage::Parse(kernel));
    return image.physical_end();
  }
  if (BzImage::IsBzImage(kernel)) {
    HMVM_TRY_ASSIGN(const BzImage image, BzImage::Parse(kernel));
    return image.memory_end();
  }
  return Error{ENOEXEC, "neither a vmlinux (ELF) nor a bzImage"};
}

}  // namespace

Result<uint64_t> MinimumMemory(std::span<const std::byte> kernel, uint64_t initrd_bytes) {
  HMVM_TRY_ASSIGN(const uint64_t kernel_end, KernelEnd(kernel));
  if (kernel_end > UINT64_MAX / 2 || initrd_bytes > UINT64_MAX / 8)
    return Error{ENOEXEC, "does not fit in any memory"};
  // The initrd exists twice while it is unpacked.
  const uint64_t bytes = kernel_end + 2 * initrd_bytes + kWorkingBytes;
  return (bytes + kMiB - 1) / kMiB * kMiB;
}

}  // namespace hmvm
