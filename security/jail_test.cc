#include "security/jail.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "security/cell.h"
#include "security/machine_user.h"

namespace hmvm {
namespace {

constexpr uid_t kUser = kFirstMachineUser + 7;

// A child in namespaces of its own, which enters a jail and then looks around; what it writes to the pipe is
// returned.
class JailTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!WhyNoJail().empty()) GTEST_SKIP() << WhyNoJail();
  }

  static std::string Inside(const std::function<std::string(int pipe)>& look) {
    Pipe pipe = *MakePipe();
    clone_args args = {};
    args.flags = kJailNamespaces;
    args.exit_signal = SIGCHLD;
    const auto child = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof(args)));
    if (child == 0) {
      const int kept[] = {pipe.write.get()};
      const auto entered = Jail{.user = kUser, .files = kept}.Enter();
      const std::string text = entered.has_value() ? look(pipe.write.get()) : entered.error().Message();
      (void)!::write(pipe.write.get(), text.data(), text.size());
      ::_exit(0);
    }
    pipe.write.reset();
    std::string text(4096, '\0');
    text.resize(ReadFull(pipe.read.get(), std::as_writable_bytes(std::span(text))).value_or(0));
    ::waitpid(child, nullptr, 0);
    return text;
  }
};

TEST_F(JailTest, TheRootIsEmptyAndCannotBeWritten) {
  EXPECT_EQ(Inside([](int) -> std::string {
              if (::open("/etc/passwd", O_RDONLY) >= 0) return "a file";
              if (::mkdir("/folder", 0700) == 0) return "a folder";
              if (::open("/file", O_CREAT | O_WRONLY, 0600) >= 0) return "a new file";
              if (::open("..", O_PATH) >= 0 && ::access("../etc", F_OK) == 0) return "a way out";
              return "nothing";
            }),
            "nothing");
}

TEST_F(JailTest, NothingCanBeGainedBack) {
  EXPECT_EQ(Inside([](int) -> std::string {
              if (::getuid() != kUser || ::getgid() != kUser) return "another user";
              if (::setresuid(0, 0, 0) == 0) return "root";
              if (::unshare(CLONE_NEWNS) == 0) return "a mount namespace";
              if (::mount("x", "/", "tmpfs", 0, nullptr) == 0) return "a mount";
              for (int capability = 0; capability < 41; ++capability) {
                if (::prctl(PR_CAPBSET_READ, capability) == 1) return "a capability";
              }
              if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return "new privileges";
              if (::prctl(PR_GET_DUMPABLE) != 0) return "dumpable";
              int signal = 0;
              ::prctl(PR_GET_PDEATHSIG, &signal);
              if (signal != SIGKILL) return "outlives its supervisor";
              return "nothing";
            }),
            "nothing");
}

TEST_F(JailTest, OnlyNamedDescriptorsStay) {
  EXPECT_EQ(Inside([](int pipe) {
              std::string open;
              for (int fd = 0; fd < 1024; ++fd) {
                if (fd > 2 && ::fcntl(fd, F_GETFD) >= 0)
                  open += fd == pipe ? "pipe " : std::to_string(fd) + " ";
              }
              return open;
            }),
            "pipe ");
}

TEST_F(JailTest, ThereAreNoNetworkAndNoOtherProcesses) {
  EXPECT_EQ(Inside([](int) -> std::string {
              if (::getpid() != 1 || ::getsid(0) == -1) return "other processes";
              const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
              sockaddr_storage address = {};
              address.ss_family = AF_INET;
              // The loopback device of a new namespace is down.
              if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0)
                return "a network";
              rlimit limit = {};
              ::getrlimit(RLIMIT_CORE, &limit);
              return limit.rlim_max == 0 ? "nothing" : "core dumps";
            }),
            "nothing");
}

TEST_F(JailTest, ItIsEnteredAsTheFirstProcessOfANamespaceOnly) {
  const auto entered = Jail{.user = kUser, .files = {}}.Enter();

  ASSERT_FALSE(entered.has_value());
  EXPECT_EQ(entered.error().code, EPERM);
}

TEST(SealTest, NoMemoryBecomesExecutable) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!Seal().has_value()) ::_exit(2);
    constexpr int kPrGetMdwe = 66;
    if (::prctl(kPrGetMdwe, 0, 0, 0, 0) < 0) ::_exit(0);  // Linux before 6.3
    void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ::_exit(::mprotect(memory, 4096, PROT_READ | PROT_EXEC) == 0 ? 1 : 0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace hmvm
