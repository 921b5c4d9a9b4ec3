#include "vmm/boot/bzimage.h"

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "vmm/boot/testing/setup_header.h"

namespace hmvm {
namespace {

// A bzImage in the small: one setup sector behind the boot sector, a payload of 32 bytes.
struct TestBzImage {
  setup_header header = MakeTestSetupHeader();
  std::string payload = "the compressed kernel's 32 bytes";

  TestBzImage() {
    header.syssize = 2;
    header.init_size = 0x1000;
  }

  std::vector<std::byte> Bytes() const {
    std::vector<std::byte> bytes(kTestSetUpBytes + payload.size());
    std::memcpy(bytes.data() + 0x1f1, &header, sizeof(header));
    std::memcpy(bytes.data() + kTestSetUpBytes, payload.data(), payload.size());
    return bytes;
  }

  std::string ParseError() const {
    const std::vector<std::byte> bytes = Bytes();
    const auto image = BzImage::Parse(bytes);
    return image.has_value() ? "" : image.error().what;
  }
};

TEST(BzImageTest, PayloadIsLoadedAtThePreferredAddress) {
  const TestBzImage test;
  const std::vector<std::byte> bytes = test.Bytes();
  const GuestMemory memory = GuestMemory::Create(2 << 20).value();

  const BzImage image = BzImage::Parse(bytes).value();
  ASSERT_TRUE(image.Load(memory).has_value());

  EXPECT_EQ(image.entry(), 0x100200u);
  EXPECT_EQ(image.memory_end(), 0x101000u);
  const auto loaded = memory.Slice(GuestAddress{0x100000}, test.payload.size()).value();
  EXPECT_EQ(std::memcmp(loaded.data(), test.payload.data(), loaded.size()), 0);
}

TEST(BzImageTest, EveryTruncationIsRefused) {
  const std::vector<std::byte> bytes = TestBzImage().Bytes();

  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(BzImage::Parse(std::span(bytes).first(size)).has_value()) << size;
  }
}

TEST(BzImageTest, WhatWeCannotBootIsRefusedByName) {
  TestBzImage magic, version, low, no_64_bit;
  magic.header.header = 0;
  version.header.version = 0x0209;
  low.header.loadflags = 0;
  no_64_bit.header.xloadflags = 0;

  EXPECT_EQ(magic.ParseError(), "not a bzImage");
  EXPECT_EQ(version.ParseError(), "bzImage's boot protocol is older than 2.12");
  EXPECT_EQ(low.ParseError(), "bzImage wants to be loaded below 1 MiB");
  EXPECT_EQ(no_64_bit.ParseError(), "bzImage has no 64-bit entry point");
}

TEST(BzImageTest, LoadAddressesOutsideLowMemoryAreRefused) {
  TestBzImage low, high, wrapping;
  low.header.pref_address = 0x1000;
  high.header.pref_address = 1ULL << 40;
  wrapping.header.pref_address = UINT64_MAX - 16;

  for (const TestBzImage& image : {low, high, wrapping}) {
    EXPECT_EQ(image.ParseError(), "bzImage's load address is outside 1 MiB..4 GiB");
  }
}

TEST(BzImageTest, MemoryTooSmallForTheUnpackedKernelIsRefused) {
  TestBzImage test;
  test.header.init_size = 64 << 20;
  const std::vector<std::byte> bytes = test.Bytes();
  const GuestMemory memory = GuestMemory::Create(2 << 20).value();

  const auto loaded = BzImage::Parse(bytes).value().Load(memory);

  ASSERT_FALSE(loaded.has_value());
  EXPECT_EQ(loaded.error().what, "bzImage needs guest memory up to 65 MiB");
}

}  // namespace
}  // namespace hmvm
