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

TEST(ParseIoLimitsTest, EachLimitGoesToItsDisk) {
  const std::vector<IoLimits> limits =
      ParseIoLimits("vdb.write_bps=5,vda.read_bps=1,vda.read_iops=2,vdb.write_iops=18446744073709551615", 3)
          .value();

  ASSERT_EQ(limits.size(), 3u);
  EXPECT_EQ(limits[0], (IoLimits{.read_bytes_per_s = 1, .read_operations_per_s = 2}));
  EXPECT_EQ(limits[1], (IoLimits{.write_bytes_per_s = 5, .write_operations_per_s = UINT64_MAX}));
  EXPECT_FALSE(limits[2].any());
}

TEST(ParseIoLimitsTest, NoTextMeansNoLimits) {
  EXPECT_FALSE(ParseIoLimits("", 1).value()[0].any());
  EXPECT_TRUE(ParseIoLimits("", 0).value().empty());
}

TEST(ParseIoLimitsTest, OtherDisksKindsAndNumbersAreRefused) {
  for (const char* text :
       {"vdb.read_bps=1", "sda.read_bps=1", "vd.read_bps=1", "vda", "vda.read_bps", "vda=1",
        "vda.read_bps=", "vda.read_bps=0", "vda.read_bps=-1", "vda.read_bps=1k", "vda.reads=1",
        "vda.read_bps=1,", "=.", "vda.read_bps=18446744073709551616", "=1.vda"}) {
    EXPECT_FALSE(ParseIoLimits(text, 1).has_value()) << text;
  }
}

}  // namespace
}  // namespace hmvm
