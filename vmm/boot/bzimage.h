// The bzImage file (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header", "64-bit BOOT PROTOCOL").
#pragma once

#include <asm/bootparam.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hmvm {

// A bzImage that can be entered in 64-bit mode. A view: `file` must outlive it and stay unchanged.
class BzImage {
 public:
  // Whether `file` claims to be a bzImage at all, to choose between loaders.
  static bool IsBzImage(std::span<const std::byte> file);

  // ENOEXEC for all that is wrong with the file, or that we can't boot; the text says what.
  static Result<BzImage> Parse(std::span<const std::byte> file);

  // The header as the kernel's boot_params want it back.
  const setup_header& header() const { return header_; }
  // Where the payload is loaded, and the end of the memory it needs there before it knows of the memory map.
  uint64_t load_address() const { return header_.pref_address; }
  uint64_t memory_end() const { return header_.pref_address + memory_bytes_; }
  uint64_t entry() const { return header_.pref_address + 0x200; }

  // The compressed vmlinux inside, which the payload's own code would unpack. ENOEXEC when it does not lie in
  // the payload.
  Result<std::span<const std::byte>> CompressedKernel() const;

  // Copies the payload to its address in fresh guest memory. EFAULT when memory_end() lies outside RAM.
  Result<> Load(const GuestMemory& memory) const;

 private:
  setup_header header_ = {};
  uint64_t memory_bytes_ = 0;
  std::span<const std::byte> payload_;
};

}  // namespace hmvm
