#include <linux/audit.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <gtest/gtest.h>

#include "base/capabilities.h"
#include "security/container/capability_options.h"
#include "security/container/seccomp_filter.h"
#include "security/container/syscall_names.h"
#include "security/container/testing/run_filter.h"

namespace hmvm {
namespace {

class Answers {
 public:
  explicit Answers(const SeccompProfile& profile, uint64_t capabilities = DefaultCapabilities())
      : filter_(CompileSeccomp(profile, capabilities).value()) {}

  SeccompVerdict To(int number, uint64_t first = 0) const {
    return RunFilter(filter_,
                     {.nr = number, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = 0, .args = {first}});
  }

 private:
  std::vector<sock_filter> filter_;
};

constexpr SeccompVerdict kAllow = SECCOMP_RET_ALLOW;
constexpr SeccompVerdict kForbid = FailWith(EPERM);

TEST(DefaultSeccompTest, OrdinaryCallsAreAllowedAndDangerousOnesAreNot) {
  const Answers answers{DefaultSeccomp()};

  for (const int call : {SYS_read, SYS_execve, SYS_openat, SYS_mmap, SYS_ptrace, SYS_chroot, SYS_getrandom}) {
    EXPECT_EQ(answers.To(call), kAllow) << NameOfSyscall(call);
  }
  for (const int call : {SYS_mount,
                         SYS_umount2,
                         SYS_unshare,
                         SYS_setns,
                         SYS_bpf,
                         SYS_perf_event_open,
                         SYS_keyctl,
                         SYS_add_key,
                         SYS_request_key,
                         SYS_userfaultfd,
                         SYS_io_uring_setup,
                         SYS_io_uring_enter,
                         SYS_io_uring_register,
                         SYS_kexec_load,
                         SYS_init_module,
                         SYS_reboot,
                         SYS_swapon,
                         SYS_settimeofday,
                         SYS_open_by_handle_at,
                         SYS_kcmp,
                         SYS_iopl,
                         SYS_syslog,
                         SYS_pivot_root,
                         SYS_acct,
                         SYS_quotactl,
                         SYS_move_pages,
                         SYS_uselib}) {
    EXPECT_EQ(answers.To(call), kForbid) << NameOfSyscall(call);
  }
}

TEST(DefaultSeccompTest, NewNamespacesAreCapSysAdmins) {
  const Answers plain{DefaultSeccomp()};
  const Answers admin{DefaultSeccomp(), DefaultCapabilities() | CapabilityBit(CAP_SYS_ADMIN)};

  EXPECT_EQ(plain.To(SYS_clone, SIGCHLD), kAllow);
  EXPECT_EQ(plain.To(SYS_clone, SIGCHLD | CLONE_NEWUSER), kForbid);
  EXPECT_EQ(plain.To(SYS_clone, CLONE_NEWNET), kForbid);
  EXPECT_EQ(plain.To(SYS_clone3), FailWith(ENOSYS)) << "so that libraries use clone";
  for (const int call : {SYS_clone3, SYS_unshare, SYS_setns, SYS_mount}) EXPECT_EQ(admin.To(call), kAllow);
  EXPECT_EQ(admin.To(SYS_clone, CLONE_NEWUSER), kAllow);
}

TEST(DefaultSeccompTest, SocketsOfTwoKindsAreForbidden) {
  const Answers answers{DefaultSeccomp()};

  for (const int kind : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET}) {
    EXPECT_EQ(answers.To(SYS_socket, static_cast<uint64_t>(kind)), kAllow);
  }
  EXPECT_EQ(answers.To(SYS_socket, AF_VSOCK), kForbid);
  EXPECT_EQ(answers.To(SYS_socket, AF_ALG), kForbid);
  // The kernel reads 32 bits of it, the filter 64.
  EXPECT_EQ(answers.To(SYS_socket, uint64_t{1} << 32 | AF_VSOCK), kForbid);
}

TEST(DefaultSeccompTest, PersonalitiesThatChangeTheAddressSpaceAreForbidden) {
  const Answers answers{DefaultSeccomp()};

  EXPECT_EQ(answers.To(SYS_personality, 0), kAllow);
  EXPECT_EQ(answers.To(SYS_personality, 0xffffffff), kAllow);
  EXPECT_EQ(answers.To(SYS_personality, 0x0040000 /* ADDR_NO_RANDOMIZE */), kForbid);
}

TEST(DefaultSeccompTest, StrictIsTheDefaultWithoutSome) {
  const Answers strict{StrictSeccomp()};
  const Answers normal{DefaultSeccomp()};

  int fewer = 0;
  for (int call = 0; call < 470; ++call) {
    if (strict.To(call) == kAllow) {
      EXPECT_EQ(normal.To(call), kAllow) << NameOfSyscall(call);
    }
    fewer += strict.To(call) != normal.To(call) ? 1 : 0;
  }
  EXPECT_GT(fewer, 40);
  for (const int call : {SYS_ptrace, SYS_mknod, SYS_personality, SYS_memfd_secret, SYS_shmget}) {
    EXPECT_EQ(strict.To(call), kForbid) << NameOfSyscall(call);
  }
  EXPECT_EQ(strict.To(SYS_socket, AF_INET6), kAllow);
  EXPECT_EQ(strict.To(SYS_socket, AF_PACKET), kForbid);
  EXPECT_EQ(Answers(StrictSeccomp(), AllCapabilities()).To(SYS_mount), kForbid);
}

TEST(SyscallNamesTest, NumbersAreX86sAndOtherArchitecturesCallsHaveNone) {
  EXPECT_EQ(FindSyscall("read")->number, SYS_read);
  EXPECT_EQ(FindSyscall("mseal")->number, 462);
  EXPECT_FALSE(FindSyscall("chown32")->number.has_value());
  EXPECT_FALSE(FindSyscall("raed").has_value());
  EXPECT_EQ(NameOfSyscall(SYS_openat), "openat");
  EXPECT_EQ(NameOfSyscall(462), "mseal");
  EXPECT_EQ(NameOfSyscall(9999), "system call 9999");
}

}  // namespace
}  // namespace hmvm
