// The header of a small bzImage, for tests.
#pragma once

#include <asm/bootparam.h>

#include <cstddef>

namespace hmvm {

// What is before its code: the boot sector, and one sector of set-up code.
inline constexpr size_t kTestSetUpBytes = 1024;

// What every reader of a bzImage asks for. Its place in the file is boot_params' for `hdr`.
inline setup_header MakeTestSetupHeader() {
  setup_header header = {};
  header.setup_sects = 1;
  header.boot_flag = 0xaa55;
  header.header = 0x53726448;  // "HdrS"
  header.version = 0x020f;
  header.loadflags = LOADED_HIGH;
  header.xloadflags = XLF_KERNEL_64;
  header.pref_address = 1 << 20;
  return header;
}

}  // namespace hmvm
