#include "vmm/api/added_memory.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(AddedMemoryTest, IsWholeBlocks) {
  EXPECT_EQ(AddedMemoryBytes(256, 256), 0u);
  EXPECT_EQ(AddedMemoryBytes(256, 257), 0u);
  EXPECT_EQ(AddedMemoryBytes(256, 259), 2u << 20);
  EXPECT_EQ(AddedMemoryBytes(256, 65536), (65536ull - 256) << 20);
}

}  // namespace
}  // namespace hmvm
