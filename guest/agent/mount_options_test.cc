#include "guest/agent/mount_options.h"

#include <sys/mount.h>

#include <gtest/gtest.h>

namespace hmvm::agent {
namespace {

TEST(ParseMountOptionsTest, FlagsAndDataAreSorted) {
  const MountOptions options = ParseMountOptions({"nosuid", "size=64k", "ro", "mode=1777"});

  EXPECT_EQ(options.flags, static_cast<unsigned long>(MS_NOSUID | MS_RDONLY));
  EXPECT_EQ(options.propagation, 0u);
  EXPECT_EQ(options.data, "size=64k,mode=1777");
}

TEST(ParseMountOptionsTest, LaterOptionTakesBackAnEarlierOne) {
  EXPECT_EQ(ParseMountOptions({"ro", "noexec", "rw"}).flags, static_cast<unsigned long>(MS_NOEXEC));
}

TEST(ParseMountOptionsTest, RecursiveBindAndPropagation) {
  const MountOptions options = ParseMountOptions({"rbind", "rslave"});

  EXPECT_EQ(options.flags, static_cast<unsigned long>(MS_BIND | MS_REC));
  EXPECT_EQ(options.propagation, static_cast<unsigned long>(MS_SLAVE | MS_REC));
  EXPECT_EQ(options.data, "");
}

}  // namespace
}  // namespace hmvm::agent
