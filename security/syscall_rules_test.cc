#include "security/syscall_rules.h"

#include <linux/kvm.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "security/fd_class.h"

namespace hmvm {
namespace {

std::vector<SyscallRule> AllOf(ThreadRole role) {
  std::vector<SyscallRule> rules(CommonRules().begin(), CommonRules().end());
  rules.insert(rules.end(), RulesFor(role).begin(), RulesFor(role).end());
  return rules;
}

// What a filter makes of the table.
bool Allows(const std::vector<SyscallRule>& rules, int number, std::array<uint64_t, 6> arguments) {
  return std::ranges::any_of(rules, [&](const SyscallRule& rule) {
    return rule.number == number && std::ranges::all_of(rule.checks, [&](const ArgumentCheck& check) {
             return (arguments[check.index] & check.mask) == check.value;
           });
  });
}

class EachRole : public testing::TestWithParam<ThreadRole> {};
INSTANTIATE_TEST_SUITE_P(SyscallRules, EachRole, testing::ValuesIn(kThreadRoles),
                         [](const auto& role) { return std::string(NameOf(role.param)); });

TEST_P(EachRole, NoRowIsThereTwiceOrCoveredByAnother) {
  const std::vector<SyscallRule> rules = AllOf(GetParam());

  for (const SyscallRule& rule : rules) {
    const auto covers = [&](const SyscallRule& other) {
      return other.number == rule.number && (other.checks == rule.checks || other.checks.size() == 0);
    };
    EXPECT_EQ(std::ranges::count_if(rules, covers), 1) << rule.number << ": " << rule.why;
  }
}

TEST_P(EachRole, EachRowHasItsReasonAndChecksThatCanHold) {
  for (const SyscallRule& rule : AllOf(GetParam())) {
    EXPECT_STRNE(rule.why, "") << rule.number;
    for (const ArgumentCheck& check : rule.checks) {
      EXPECT_LT(check.index, 6) << rule.why;
      EXPECT_NE(check.mask, 0u) << rule.why;
      EXPECT_EQ(check.value & ~check.mask, 0u) << rule.why;
    }
  }
}

TEST_P(EachRole, NothingIsOpenedExecutedConnectedOrStarted) {
  const std::vector<SyscallRule> rules = AllOf(GetParam());

  for (const int number : {SYS_open,
                           SYS_openat,
                           SYS_openat2,
                           SYS_creat,
                           SYS_open_by_handle_at,
                           SYS_execve,
                           SYS_execveat,
                           SYS_socket,
                           SYS_connect,
                           SYS_sendmsg,
                           SYS_sendmmsg,
                           SYS_bind,
                           SYS_listen,
                           SYS_fork,
                           SYS_vfork,
                           SYS_clone,
                           SYS_clone3,
                           SYS_ptrace,
                           SYS_process_vm_readv,
                           SYS_process_vm_writev,
                           SYS_mount,
                           SYS_umount2,
                           SYS_unshare,
                           SYS_setns,
                           SYS_bpf,
                           SYS_io_uring_setup,
                           SYS_io_uring_register,
                           SYS_userfaultfd,
                           SYS_memfd_create,
                           SYS_kill,
                           SYS_pidfd_open,
                           SYS_pidfd_getfd,
                           SYS_fcntl,
                           SYS_dup,
                           SYS_dup2,
                           SYS_setresuid,
                           SYS_capset,
                           SYS_seccomp,
                           SYS_keyctl,
                           SYS_perf_event_open,
                           SYS_unlink,
                           SYS_rename,
                           SYS_chmod,
                           SYS_chown,
                           SYS_kexec_load,
                           SYS_init_module,
                           SYS_shmget}) {
    EXPECT_EQ(std::ranges::count(rules, number, &SyscallRule::number), 0) << number;
  }
}

TEST_P(EachRole, NoMemoryBecomesExecutable) {
  const std::vector<SyscallRule> rules = AllOf(GetParam());
  constexpr uint64_t kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;

  EXPECT_TRUE(Allows(rules, SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, kAnonymous, ~0ull, 0}));
  EXPECT_FALSE(Allows(rules, SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, kAnonymous, ~0ull, 0}));
  EXPECT_FALSE(Allows(rules, SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE, 3, 0}));
  EXPECT_TRUE(Allows(rules, SYS_mprotect, {0, 4096, PROT_READ | PROT_WRITE}));
  EXPECT_FALSE(Allows(rules, SYS_mprotect, {0, 4096, PROT_READ | PROT_EXEC}));
}

TEST_P(EachRole, OnlyItselfIsSignalled) {
  const std::vector<SyscallRule> rules = AllOf(GetParam());

  EXPECT_TRUE(Allows(rules, SYS_tgkill, {1, 7, 34}));
  EXPECT_FALSE(Allows(rules, SYS_tgkill, {2, 7, 34}));
}

// All that take a descriptor first, but for close.
TEST_P(EachRole, ACallOnADescriptorNamesItsClass) {
  constexpr int kOnDescriptors[] = {
      SYS_read,      SYS_write,     SYS_readv,     SYS_writev,     SYS_pread64,        SYS_pwrite64,
      SYS_preadv,    SYS_pwritev2,  SYS_ioctl,     SYS_fstat,      SYS_newfstatat,     SYS_lseek,
      SYS_ftruncate, SYS_fallocate, SYS_fdatasync, SYS_recvfrom,   SYS_sendto,         SYS_recvmsg,
      SYS_accept4,   SYS_shutdown,  SYS_epoll_ctl, SYS_epoll_wait, SYS_io_uring_enter, SYS_timerfd_settime};

  for (const SyscallRule& rule : AllOf(GetParam())) {
    if (std::ranges::find(kOnDescriptors, rule.number) == std::end(kOnDescriptors)) continue;
    EXPECT_TRUE(std::ranges::any_of(rule.checks, [](const auto& check) { return check.index == 0; }))
        << rule.number << ": " << rule.why;
  }
}

TEST(SyscallRulesTest, OnlyVcpusRunTheGuestAndNoneOfThemChangesTheMachine) {
  constexpr uint64_t kVcpu = fd_class::kVcpus.first + 5;
  constexpr uint64_t kVm = fd_class::kVm.first;
  EXPECT_TRUE(Allows(AllOf(ThreadRole::kVcpu), SYS_ioctl, {kVcpu, KVM_RUN}));
  EXPECT_FALSE(Allows(AllOf(ThreadRole::kVcpu), SYS_ioctl, {kVm, KVM_RUN}));
  EXPECT_FALSE(Allows(AllOf(ThreadRole::kDevice), SYS_ioctl, {kVcpu, KVM_RUN}));
  EXPECT_FALSE(Allows(AllOf(ThreadRole::kVcpu), SYS_ioctl, {kVm, KVM_SET_USER_MEMORY_REGION}));
}

TEST(SyscallRulesTest, AClassEndsWhereTheNextBegins) {
  constexpr uint64_t kFirst = fd_class::kVcpus.first;
  constexpr uint64_t kCount = fd_class::kVcpus.count;
  const auto rules = AllOf(ThreadRole::kVcpu);
  EXPECT_FALSE(Allows(rules, SYS_ioctl, {kFirst - 1, KVM_RUN}));
  EXPECT_TRUE(Allows(rules, SYS_ioctl, {kFirst, KVM_RUN}));
  EXPECT_TRUE(Allows(rules, SYS_ioctl, {kFirst + kCount - 1, KVM_RUN}));
  EXPECT_FALSE(Allows(rules, SYS_ioctl, {kFirst + kCount, KVM_RUN}));
}

TEST(SyscallRulesTest, TheUpperHalfOfA32BitArgumentDoesNotCount) {
  constexpr uint64_t kHigh = uint64_t{7} << 32;
  EXPECT_TRUE(Allows(AllOf(ThreadRole::kVcpu), SYS_ioctl, {kHigh | fd_class::kVcpus.first, kHigh | KVM_RUN}));
}

}  // namespace
}  // namespace hmvm
