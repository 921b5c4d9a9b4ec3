#include "security/fd_class.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <functional>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

using fd_class::kAll;

// Limits are for good: a process of its own.
int StatusOf(const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(act());
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

void LimitDescriptors(rlim_t most) {
  const rlimit limit = {most, most};
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

UniqueFd Null() { return *OpenFile("/dev/null", O_RDONLY); }

TEST(FdClassTest, EachRangeIsOneMaskAndNoneReachesIntoTheNext) {
  for (size_t i = 0; i < std::size(kAll); ++i) {
    EXPECT_TRUE(std::has_single_bit(static_cast<unsigned>(kAll[i].count))) << kAll[i].name;
    EXPECT_EQ(kAll[i].first % kAll[i].count, 0) << kAll[i].name;
    EXPECT_EQ(kAll[i].first, i == 0 ? 0 : kAll[i - 1].first + kAll[i - 1].count) << kAll[i].name;
    EXPECT_LE(kAll[i].first + kAll[i].count, fd_class::kEnd) << kAll[i].name;
  }
}

TEST(FdClassTest, DescriptorsOfAClassHaveItsNumbersInTheirOrderAndAreClosedOnExec) {
  EXPECT_EQ(StatusOf([] {
              AllowAllClasses();
              UniqueFd low = Null();
              const int number = low.get();
              const auto first = Place(fd_class::kDisks, std::move(low));
              const auto second = Place(fd_class::kDisks, Null());
              if (!first.has_value() || first->get() != fd_class::kDisks.first) return 1;
              if (!second.has_value() || second->get() != fd_class::kDisks.first + 1) return 2;
              if (::fcntl(first->get(), F_GETFD) != FD_CLOEXEC) return 3;
              return ::fcntl(number, F_GETFD) < 0 ? 0 : 4;
            }),
            0);
}

TEST(FdClassTest, AFullClassIsNamed) {
  EXPECT_EQ(StatusOf([] {
              AllowAllClasses();
              const auto only = Place(fd_class::kControl, Null());
              const auto further = Place(fd_class::kControl, Null());
              if (!only.has_value() || further.has_value()) return 1;
              return further.error().what == "more than 1 descriptors of the control channel" ? 0 : 2;
            }),
            0);
}

TEST(FdClassTest, NoneStaysNone) {
  const auto placed = Place(fd_class::kDisks, UniqueFd());

  ASSERT_TRUE(placed.has_value());
  EXPECT_FALSE(placed->valid());
}

TEST(FdClassTest, WithoutRoomADescriptorStaysWhereItIs) {
  EXPECT_EQ(StatusOf([] {
              LimitDescriptors(1024);
              UniqueFd low = Null();
              const int number = low.get();
              const auto placed = Place(fd_class::kDisks, std::move(low));
              return placed.has_value() && placed->get() == number ? 0 : 1;
            }),
            0);
}

TEST(FdClassTest, WhatArrivesNeverHasANumberOfTheOtherClasses) {
  EXPECT_EQ(StatusOf([] {
              AllowAllClasses();
              const auto disk = Place(fd_class::kDisks, Null());
              if (!disk.has_value() || !AllowArrivingOnly().has_value()) return 1;
              int last = 0;
              for (int fd = 0; (fd = ::dup(disk->get())) >= 0;) last = fd;
              return last == fd_class::kArriving.count - 1 && errno == EMFILE ? 0 : 2;
            }),
            0);
}

}  // namespace
}  // namespace hmvm
