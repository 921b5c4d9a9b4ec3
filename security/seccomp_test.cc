#include "security/seccomp.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sanitizer.h"
#include "security/fd_class.h"

namespace hmvm {
namespace {

// Before a process ends, its runtime makes calls that no role may: then only those that die tell anything.
constexpr char kWhyNotSanitized[] = "the sanitizer makes system calls of its own";

// What waitpid says of a process that takes a role and then does something.
int StatusAfter(ThreadRole role, SeccompMode mode, const std::function<void()>& act,
                std::span<const SyscallRule> further = {}) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!EnterRole(role, mode, further).has_value()) ::_exit(99);
    act();
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

bool Dies(ThreadRole role, const std::function<void()>& act) {
  const int status = StatusAfter(role, SeccompMode::kKill, act);
  EXPECT_NE(status, 99 << 8) << "no filter";
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

class EachFilter : public testing::TestWithParam<ThreadRole> {};
INSTANTIATE_TEST_SUITE_P(Seccomp, EachFilter, testing::ValuesIn(kThreadRoles),
                         [](const auto& role) { return std::string(NameOf(role.param)); });

TEST_P(EachFilter, WhatARunningMachineDoesIsAllowed) {
  if (kSanitized) GTEST_SKIP() << kWhyNotSanitized;
  EXPECT_EQ(StatusAfter(GetParam(), SeccompMode::kKill,
                        [] {
                          void* const memory = ::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE,
                                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                          ::madvise(memory, 1 << 20, MADV_DONTNEED);
                          ::munmap(memory, 1 << 20);
                          (void)!::write(STDERR_FILENO, "", 0);
                          ::syscall(SYS_gettid);
                        }),
            0);
}

TEST_P(EachFilter, AForbiddenCallDies) {
  EXPECT_TRUE(Dies(GetParam(), [] { ::open("/etc/shadow", O_RDONLY); }));
  EXPECT_TRUE(Dies(GetParam(), [] { ::execl("/bin/sh", "sh", nullptr); }));
  EXPECT_TRUE(Dies(GetParam(), [] { ::socket(AF_INET, SOCK_STREAM, 0); }));
  EXPECT_TRUE(Dies(GetParam(), [] { ::fork(); }));
  EXPECT_TRUE(Dies(GetParam(), [] { ::syscall(SYS_tgkill, ::getppid(), ::getppid(), 0); }));
  EXPECT_TRUE(Dies(GetParam(), [] { ::ioctl(0, KVM_CREATE_VM, 0); }));
  EXPECT_TRUE(Dies(GetParam(), [] { ::mmap(nullptr, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }));
  EXPECT_TRUE(Dies(GetParam(), [] { ::prctl(PR_SET_DUMPABLE, 1); }));
}

// Of calls whose descriptors count, in each class: the filter says what the table says. No such descriptor is
// open, so that none of them does anything.
TEST_P(EachFilter, ADescriptorOfTheWrongClassDies) {
  if (kSanitized) GTEST_SKIP() << kWhyNotSanitized;
  constexpr uint64_t kIgnored = 0;
  const std::array<uint64_t, 2> calls[] = {
      {SYS_read, kIgnored},       {SYS_write, kIgnored},           {SYS_readv, kIgnored},
      {SYS_writev, kIgnored},     {SYS_pread64, kIgnored},         {SYS_pwrite64, kIgnored},
      {SYS_sendmsg, kIgnored},    {SYS_recvmsg, kIgnored},         {SYS_ftruncate, kIgnored},
      {SYS_fallocate, kIgnored},  {SYS_accept4, kIgnored},         {SYS_io_uring_enter, kIgnored},
      {SYS_epoll_wait, kIgnored}, {SYS_timerfd_settime, kIgnored}, {SYS_ioctl, KVM_RUN},
      {SYS_ioctl, KVM_GET_REGS},  {SYS_ioctl, KVM_GET_CLOCK},      {SYS_ioctl, KVM_SET_USER_MEMORY_REGION},
      {SYS_ioctl, KVM_CREATE_VM}};
  std::vector<SyscallRule> rules(CommonRules().begin(), CommonRules().end());
  rules.insert(rules.end(), RulesFor(GetParam()).begin(), RulesFor(GetParam()).end());

  for (const auto& [number, second] : calls) {
    for (const FdClass& fds : fd_class::kAll) {
      const int fd = fds.first + fds.count - 1;
      const uint64_t arguments[] = {static_cast<uint64_t>(fd), second, 0, 0, 0, 0};
      const bool allowed = std::ranges::any_of(rules, [&, number = number](const SyscallRule& rule) {
        return std::cmp_equal(rule.number, number) &&
               std::ranges::all_of(rule.checks, [&](const auto& check) {
                 return (arguments[check.index] & check.mask) == check.value;
               });
      });
      EXPECT_EQ(Dies(GetParam(),
                     [&, number = number, second = second] {
                       ::syscall(static_cast<long>(number), fd, second, 0, 0, 0, 0);
                     }),
                !allowed)
          << "call " << number << ", " << second << " of " << fds.name;
    }
  }
}

// The other numbers of the same calls: by the 32-bit entry, and of the x32 ABI.
TEST_P(EachFilter, OtherAbisDie) {
  EXPECT_TRUE(Dies(GetParam(), [] {
    long result = 20;  // getpid
    asm volatile("int $0x80" : "+a"(result)::"memory", "r8", "r9", "r10", "r11");
  }));
  EXPECT_TRUE(Dies(GetParam(), [] { ::syscall(0x40000000 | SYS_getpid); }));
}

TEST(SeccompTest, RolesDiffer) {
  if (kSanitized) GTEST_SKIP() << kWhyNotSanitized;
  const auto run_guest = [] { ::ioctl(fd_class::kVcpus.first, KVM_RUN, 0); };

  EXPECT_FALSE(Dies(ThreadRole::kVcpu, run_guest));
  EXPECT_TRUE(Dies(ThreadRole::kDevice, run_guest));
  EXPECT_TRUE(Dies(ThreadRole::kControl, run_guest));
}

TEST(SeccompTest, LoggedCallsHappen) {
  EXPECT_EQ(StatusAfter(ThreadRole::kVcpu, SeccompMode::kLog,
                        [] {
                          if (::open("/dev/null", O_RDONLY) < 0) ::_exit(1);
                        }),
            0);
}

TEST(SeccompTest, ModesAreNamed) {
  EXPECT_EQ(ParseSeccompMode("log").value(), SeccompMode::kLog);
  ASSERT_FALSE(ParseSeccompMode("maybe").has_value());
  EXPECT_THAT(ParseSeccompMode("maybe").error().what, testing::HasSubstr("'maybe'"));
}

TEST(SeccompTest, AThreadMayAllocateAndFreeAndAskForLocalTime) {
  if (kSanitized) GTEST_SKIP() << kWhyNotSanitized;
  for (const ThreadRole role : kThreadRoles) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      SettleLibrary();
      // Threads have arenas of their own, unless they are kept from it.
      std::thread([role] {
        if (!EnterRole(role, SeccompMode::kKill, {}).has_value()) ::_exit(99);
        std::vector<std::unique_ptr<char[]>> pieces(4096);
        for (auto& piece : pieces) piece = std::make_unique<char[]>(8000);
        pieces.clear();
        time_t now = 0;
        tm local;
        ::localtime_r(&now, &local);
        (void)std::mktime(&local);
        ::_exit(0);
      }).join();
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0) << NameOf(role);
  }
}

// As the log does for each of its lines. A time zone that is not settled is looked for each time, under a
// lock of the C library's that ThreadSanitizer does not see: it reports the name that one thread keeps and
// another frees.
TEST(SeccompTest, ThreadsMayAskForLocalTimeAtOnce) {
  SettleLibrary();
  const auto ask = [] {
    for (time_t now = 0; now < 1000; ++now) {
      tm local;
      ::localtime_r(&now, &local);
      EXPECT_EQ(std::mktime(&local), now);
    }
  };

  std::jthread other(ask);
  ask();
}

TEST(SeccompTest, FurtherCallsAreAllowedAsFarAsTheirChecksGo) {
  if (kSanitized) GTEST_SKIP() << kWhyNotSanitized;
  const SyscallRule further[] = {{SYS_getcpu, {}, ""},
                                 {SYS_fcntl, {{1, 0xffffffff, F_GETFD}, {0, ~uint64_t{0}, 1}}, ""},
                                 {SYS_getpriority, {{1, 0xffffffff00000000, 0x500000000}}, ""}};
  const auto status = [&further](const std::function<void()>& act) {
    return StatusAfter(ThreadRole::kVcpu, SeccompMode::kKill, act, further);
  };
  const int killed = SIGSYS;

  EXPECT_EQ(status([] { ::syscall(SYS_getcpu, nullptr, nullptr, nullptr); }), 0);
  EXPECT_EQ(status([] { ::syscall(SYS_fcntl, 1, F_GETFD, 0); }), 0);
  EXPECT_EQ(status([] { ::syscall(SYS_getpriority, 0, 0x500000003); }), 0);
  EXPECT_EQ(status([] { ::syscall(SYS_fcntl, 2, F_GETFD, 0); }) & 0x7f, killed);
  EXPECT_EQ(status([] { ::syscall(SYS_fcntl, 1, F_SETFD, 0); }) & 0x7f, killed);
  EXPECT_EQ(status([] { ::syscall(SYS_getpriority, 0, 0x600000003); }) & 0x7f, killed);
  EXPECT_EQ(status([] { ::syscall(SYS_getppid); }) & 0x7f, killed);
}

}  // namespace
}  // namespace hmvm
