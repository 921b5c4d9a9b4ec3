#include "guest/agent/accounts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm::agent {
namespace {

using testing::ElementsAre;

constexpr char kPasswd[] =
    "root:x:0:0:root:/root:/bin/sh\n"
    "broken line\n"
    "evil:x:4294967296:0::/:/bin/sh\n"
    "web:x:33:34:web:/var/www:/bin/false\n"
    "1000:x:5:6::/odd:/bin/sh\n";
constexpr char kGroup[] =
    "root:x:0:\n"
    "web:x:34:\n"
    "disk:x:6:web,root\n"
    "again:x:6:web\n"
    "logs:x:70:other,web";

TEST(ResolveUserTest, EmptyMeansRootWithItsHomeAndGroups) {
  const auto account = ResolveUser("", kPasswd, kGroup);

  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->uid, 0u);
  EXPECT_EQ(account->gid, 0u);
  EXPECT_EQ(account->home, "/root");
  EXPECT_THAT(account->groups, ElementsAre(0, 6));
}

TEST(ResolveUserTest, NameBringsGroupHomeAndSupplementaryGroups) {
  const auto account = ResolveUser("web", kPasswd, kGroup);

  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->uid, 33u);
  EXPECT_EQ(account->gid, 34u);
  EXPECT_EQ(account->home, "/var/www");
  EXPECT_THAT(account->groups, ElementsAre(34, 6, 70));
}

TEST(ResolveUserTest, UidIsLookedUpToo) {
  const auto account = ResolveUser("33", kPasswd, kGroup);

  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->gid, 34u);
  EXPECT_THAT(account->groups, ElementsAre(34, 6, 70));
}

TEST(ResolveUserTest, UidWithoutEntryIsTakenAsItIs) {
  const auto account = ResolveUser("4711", kPasswd, kGroup);

  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->uid, 4711u);
  EXPECT_EQ(account->gid, 0u);
  EXPECT_EQ(account->home, "/");
}

TEST(ResolveUserTest, ExplicitGroupLeavesOutTheOthers) {
  const auto account = ResolveUser("web:logs", kPasswd, kGroup);

  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->gid, 70u);
  EXPECT_THAT(account->groups, ElementsAre(70));
}

TEST(ResolveUserTest, NumericGroupNeedsNoEntry) {
  const auto account = ResolveUser("1:2", "", "");

  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->uid, 1u);
  EXPECT_EQ(account->gid, 2u);
}

TEST(ResolveUserTest, NameOfDigitsWinsOverTheUid) {
  const auto account = ResolveUser("1000", kPasswd, kGroup);

  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->uid, 5u);
}

TEST(ResolveUserTest, UnknownNamesAreRefusedByName) {
  const auto user = ResolveUser("nobody", kPasswd, kGroup);
  const auto group = ResolveUser("web:nogroup", kPasswd, kGroup);

  ASSERT_FALSE(user.has_value());
  EXPECT_EQ(user.error().code, EINVAL);
  EXPECT_EQ(user.error().what, "unable to find user nobody: no matching entries in passwd file");
  ASSERT_FALSE(group.has_value());
  EXPECT_EQ(group.error().what, "unable to find group nogroup: no matching entries in group file");
}

TEST(ResolveUserTest, IdsBeyondTheRangeAreRefused) {
  EXPECT_FALSE(ResolveUser("2147483648", kPasswd, kGroup).has_value());
  EXPECT_FALSE(ResolveUser("0:4294967296", kPasswd, kGroup).has_value());
  EXPECT_FALSE(ResolveUser("evil", kPasswd, kGroup).has_value());
  EXPECT_FALSE(ResolveUser("-1", kPasswd, kGroup).has_value());
}

}  // namespace
}  // namespace hmvm::agent
