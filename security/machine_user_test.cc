#include "security/machine_user.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

namespace fs = std::filesystem;

class MachineUserTest : public testing::Test {
 protected:
  MachineUserTest() {
    std::string path = testing::TempDir() + "hmvm-uids-XXXXXX";
    locks_ = ::mkdtemp(path.data());
  }
  ~MachineUserTest() override { fs::remove_all(locks_); }

  MachineUser MustTake() const { return MachineUser::Take(locks_).value(); }

  fs::path locks_;
};

TEST_F(MachineUserTest, NoTwoAreAlikeAndAllAreOfTheRange) {
  std::vector<MachineUser> users;
  std::set<uid_t> ids;

  for (int i = 0; i < 50; ++i) {
    users.push_back(MustTake());
    ids.insert(users.back().id());
  }

  EXPECT_EQ(ids.size(), users.size());
  EXPECT_GE(*ids.begin(), kFirstMachineUser);
  EXPECT_LT(*ids.rbegin(), kFirstMachineUser + kMachineUsers);
}

TEST_F(MachineUserTest, AnotherProcessGetsAnother) {
  const MachineUser ours = MustTake();

  const pid_t child = ::fork();
  if (child == 0) ::_exit(MustTake().id() == ours.id() ? 1 : 0);
  int status = -1;
  ::waitpid(child, &status, 0);

  EXPECT_EQ(status, 0);
}

TEST_F(MachineUserTest, AnIdThatIsGivenBackLeavesNothingAndIsTakenAgain) {
  uid_t first = 0;
  {
    const MachineUser user = MustTake();
    first = user.id();
  }
  EXPECT_TRUE(fs::is_empty(locks_));

  EXPECT_EQ(MustTake().id(), first);
}

TEST_F(MachineUserTest, WhatAKilledSupervisorLeftIsFree) {
  uid_t first = 0;
  {
    const MachineUser user = MustTake();
    first = user.id();
  }
  std::ofstream(locks_ / std::to_string(first));  // a file, and nobody who holds it

  EXPECT_EQ(MustTake().id(), first);
}

TEST_F(MachineUserTest, ASweepRemovesWhatNobodyHoldsAndNothingElse) {
  const MachineUser held = MustTake();
  for (const uid_t id : {kFirstMachineUser, kFirstMachineUser + kMachineUsers - 1}) {
    if (id != held.id()) std::ofstream(locks_ / std::to_string(id));
  }

  MachineUser::Sweep(locks_);

  const std::vector<fs::directory_entry> left(fs::directory_iterator(locks_), {});
  EXPECT_THAT(left, testing::ElementsAre(fs::directory_entry(locks_ / std::to_string(held.id()))));
  EXPECT_NE(MustTake().id(), held.id());
  MachineUser::Sweep(locks_ / "no");
}

// Each round begins with what a killed supervisor left, and somebody sweeps all the time.
TEST_F(MachineUserTest, NoIdIsTakenTwiceWhileOthersSweep) {
  std::atomic<bool> end = false;
  std::thread sweeper([&] {
    while (!end) MachineUser::Sweep(locks_);
  });
  for (int round = 0; round < 500; ++round) {
    const MachineUser one = MustTake();
    const MachineUser other = MustTake();
    EXPECT_NE(one.id(), other.id());
    EXPECT_TRUE(fs::exists(locks_ / std::to_string(one.id())));
    EXPECT_TRUE(fs::exists(locks_ / std::to_string(other.id())));
  }
  end = true;
  sweeper.join();
}

TEST_F(MachineUserTest, TheIdIsTakenForAsLongAsAnyoneHoldsTheLock) {
  uid_t first = 0;
  UniqueFd held_by_vmm;
  {
    const MachineUser user = MustTake();
    first = user.id();
    held_by_vmm = UniqueFd(::dup(user.lock()));
    // A supervisor that is killed removes nothing.
    fs::create_hard_link(locks_ / std::to_string(first), locks_ / "kept");
  }
  fs::rename(locks_ / "kept", locks_ / std::to_string(first));

  EXPECT_NE(MustTake().id(), first);
}

TEST_F(MachineUserTest, AFolderThatCannotBeMadeIsNamed) {
  const auto user = MachineUser::Take(locks_ / "no" / "such");

  ASSERT_FALSE(user.has_value());
  EXPECT_THAT(user.error().what, testing::HasSubstr("no/such"));
}

}  // namespace
}  // namespace hmvm
