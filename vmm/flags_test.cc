#include "vmm/flags.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(ParseDisksTest, ModesAndOrderAreKept) {
  const std::vector<DiskArgument> disks = ParseDisks("ro:/a:b,rw:fd:5").value();

  ASSERT_EQ(disks.size(), 2u);
  EXPECT_EQ(disks[0].file, "/a:b");
  EXPECT_TRUE(disks[0].read_only);
  EXPECT_EQ(disks[1].file, "fd:5");
  EXPECT_FALSE(disks[1].read_only);
}

TEST(ParseDisksTest, EmptyDriveHasItsPlaceAmongOthers) {
  const std::vector<DiskArgument> disks = ParseDisks("none,rw:/a").value();

  ASSERT_EQ(disks.size(), 2u);
  EXPECT_EQ(disks[0].file, "");
  EXPECT_TRUE(disks[0].read_only);
  EXPECT_EQ(disks[1].file, "/a");
}

TEST(ParseDisksTest, NoTextMeansNoDisks) { EXPECT_TRUE(ParseDisks("").value().empty()); }

TEST(ParseDisksTest, PartsWithoutModeOrFileAreRefused) {
  for (const char* text : {"/a", "ro:", "rw:/a,", "rw:/a,,ro:/b", "rx:/a"}) {
    EXPECT_FALSE(ParseDisks(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace hmvm
