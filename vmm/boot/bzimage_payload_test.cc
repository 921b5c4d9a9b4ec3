#include "vmm/boot/bzimage_payload.h"

#include <archive.h>
#include <archive_entry.h>

#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vmm/boot/bzimage.h"
#include "vmm/boot/testing/setup_header.h"

namespace hmvm {
namespace {

using testing::HasSubstr;

// Stands for a vmlinux: what is in it is not looked at here.
std::string Kernel() {
  std::string kernel = "\177ELF";
  for (int i = 0; i < 50'000; ++i) kernel += std::to_string(i);
  return kernel;
}

std::string Compress(const std::string& bytes, const char* filter) {
  std::string output(bytes.size() + 65536, '\0');
  size_t used = 0;
  archive* const writer = ::archive_write_new();
  ::archive_write_set_format_raw(writer);
  EXPECT_EQ(::archive_write_add_filter_by_name(writer, filter), ARCHIVE_OK) << filter;
  ::archive_write_set_bytes_in_last_block(writer, 1);  // no padding
  EXPECT_EQ(::archive_write_open_memory(writer, output.data(), output.size(), &used), ARCHIVE_OK);
  archive_entry* const entry = ::archive_entry_new();
  ::archive_entry_set_filetype(entry, AE_IFREG);
  EXPECT_EQ(::archive_write_header(writer, entry), ARCHIVE_OK);
  EXPECT_EQ(::archive_write_data(writer, bytes.data(), bytes.size()), static_cast<la_ssize_t>(bytes.size()));
  ::archive_entry_free(entry);
  EXPECT_EQ(::archive_write_close(writer), ARCHIVE_OK);
  ::archive_write_free(writer);
  output.resize(used);
  return output;
}

std::string WithSize(std::string compressed, uint32_t size_bytes) {
  compressed.append(reinterpret_cast<const char*>(&size_bytes), sizeof(size_bytes));
  return compressed;
}

// The frame of a bzImage, with `compressed` a little behind the start of its code.
std::vector<std::byte> BzImageOf(const std::string& compressed) {
  constexpr size_t kOffset = 48;
  setup_header header = MakeTestSetupHeader();
  header.payload_offset = kOffset;
  header.payload_length = static_cast<uint32_t>(compressed.size());
  std::vector<std::byte> bytes(kTestSetUpBytes + kOffset + compressed.size());
  std::memcpy(bytes.data() + 0x1f1, &header, sizeof(header));
  std::memcpy(bytes.data() + kTestSetUpBytes + kOffset, compressed.data(), compressed.size());
  return bytes;
}

Error UnpackError(const std::string& compressed) {
  const auto vmlinux = UnpackVmlinux(BzImageOf(compressed));
  return vmlinux.has_value() ? Error{} : vmlinux.error();
}

class BzImagePayloadTest : public testing::TestWithParam<const char*> {};

TEST_P(BzImagePayloadTest, KernelIsUnpacked) {
  const std::string kernel = Kernel();

  const auto vmlinux =
      UnpackVmlinux(BzImageOf(WithSize(Compress(kernel, GetParam()), static_cast<uint32_t>(kernel.size()))));

  ASSERT_TRUE(vmlinux.has_value()) << vmlinux.error().Message();
  ASSERT_EQ(vmlinux->size(), kernel.size());
  EXPECT_EQ(std::memcmp(vmlinux->data(), kernel.data(), kernel.size()), 0);
}

TEST_P(BzImagePayloadTest, TruncatedKernelIsRefused) {
  const std::string kernel = Kernel();
  const std::string compressed = Compress(kernel, GetParam());

  const Error error = UnpackError(
      WithSize(compressed.substr(0, compressed.size() / 2), static_cast<uint32_t>(kernel.size())));

  EXPECT_EQ(error.code, ENOEXEC) << error.what;
  EXPECT_THAT(error.what, HasSubstr("bzImage's compressed kernel "));
}

TEST_P(BzImagePayloadTest, KernelOfAnotherSizeThanItSaysIsRefused) {
  const std::string kernel = Kernel();
  const std::string compressed = Compress(kernel, GetParam());

  const Error longer = UnpackError(WithSize(compressed, static_cast<uint32_t>(kernel.size()) - 1));
  const Error shorter = UnpackError(WithSize(compressed, static_cast<uint32_t>(kernel.size()) + 1));

  EXPECT_EQ(longer.what, "bzImage's compressed kernel is longer than it says");
  EXPECT_EQ(shorter.what, "bzImage's compressed kernel is shorter than it says");
}

INSTANTIATE_TEST_SUITE_P(Formats, BzImagePayloadTest, testing::Values("bzip2", "lzma", "xz", "lz4", "zstd"),
                         [](const auto& info) { return std::string(info.param); });

// gzip's own last bytes are the size.
TEST(BzImagePayloadTest, GzipNeedsNoSizeBehindIt) {
  const std::string kernel = Kernel();

  const auto vmlinux = UnpackVmlinux(BzImageOf(Compress(kernel, "gzip")));

  ASSERT_TRUE(vmlinux.has_value()) << vmlinux.error().Message();
  EXPECT_EQ(vmlinux->size(), kernel.size());
}

TEST(BzImagePayloadTest, KernelAboveTheLimitIsRefusedBeforeItIsUnpacked) {
  const Error error = UnpackError(WithSize("whatever", 512 << 20));

  EXPECT_EQ(error.code, EFBIG);
  EXPECT_EQ(error.what, "bzImage's kernel unpacks to 512 MiB, more than 256 MiB");
}

TEST(BzImagePayloadTest, WhatIsNotCompressedIsRefused) {
  EXPECT_EQ(UnpackError(WithSize(Kernel(), 1000)).what, "bzImage's compressed kernel has an unknown format");
  EXPECT_EQ(UnpackError(WithSize("", 1000)).what, "bzImage's compressed kernel is missing");
  EXPECT_EQ(UnpackError(WithSize("x", 0)).what, "bzImage's compressed kernel is empty");
}

TEST(BzImagePayloadTest, PayloadOutsideTheFileIsRefused) {
  for (const auto& [offset, length] : {std::pair<uint32_t, uint32_t>{48, 1000},
                                       {1000, 8},
                                       {UINT32_MAX, 8},
                                       {48, UINT32_MAX},
                                       {UINT32_MAX, UINT32_MAX}}) {
    std::vector<std::byte> bytes = BzImageOf("8 bytes.");
    std::memcpy(bytes.data() + 0x1f1 + offsetof(setup_header, payload_offset), &offset, sizeof(offset));
    std::memcpy(bytes.data() + 0x1f1 + offsetof(setup_header, payload_length), &length, sizeof(length));

    const auto vmlinux = UnpackVmlinux(bytes);

    ASSERT_FALSE(vmlinux.has_value());
    EXPECT_EQ(vmlinux.error().what, "bzImage's compressed kernel lies outside the file");
  }
}

}  // namespace
}  // namespace hmvm
