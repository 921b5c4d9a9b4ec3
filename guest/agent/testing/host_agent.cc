// The agent's service as the first process of new pid, mount, ipc and uts namespaces of the host, with a loop
// device for the disk and UNIX sockets for vsock.
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/event_loop.h"
#include "base/file.h"
#include "base/ttrpc/server.h"
#include "guest/agent/cgroup.h"
#include "guest/agent/service.h"
#include "guest/agent/streams.h"
#include "guest/agent/testing/agent_under_test.h"

namespace hmvm::agent::test {
namespace {

// A loop device over `file` that goes with its last user.
struct LoopDevice {
  std::string path;
  UniqueFd fd;

  static Result<LoopDevice> Open(const std::string& file) {
    HMVM_TRY_ASSIGN(const UniqueFd control, OpenFile("/dev/loop-control", O_RDWR));
    HMVM_TRY_ASSIGN(const UniqueFd backing, OpenFile(file, O_RDONLY));
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return Error{errno, "find a free loop device"};
    LoopDevice device;
    device.path = "/dev/loop" + std::to_string(number);
    HMVM_TRY_ASSIGN(device.fd, OpenFile(device.path, O_RDONLY));
    loop_config config = {};
    config.fd = static_cast<uint32_t>(backing.get());
    config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    if (::ioctl(device.fd.get(), LOOP_CONFIGURE, &config) < 0)
      return Error{errno, "configure '" + device.path + "'"};
    return device;
  }
};

Result<> Mount(const char* type, const char* target) {
  if (::mount(type, target, type, 0, "") < 0) return Error{errno, std::string("mount ") + type};
  return {};
}

// What main.cc is to a guest.
Result<> ServeAsFirstProcess(UniqueFd host, UniqueFd listener) {
  if (::mount("", "/", "", MS_REC | MS_PRIVATE, "") < 0) return Error{errno, "make mounts private"};
  HMVM_TRY(Mount("proc", "/proc"));
  HMVM_TRY(Mount("tmpfs", "/run"));
  HMVM_TRY(Mount("cgroup2", kCgroupRoot));
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &children, nullptr);
  const UniqueFd signals(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  HMVM_TRY_ASSIGN(auto loop, EventLoop::Create());
  HMVM_TRY_ASSIGN(auto streams, StreamRegistry::Create(*loop, std::move(listener)));
  AgentService service(*loop, *streams, [&] { loop->Stop(); });
  TtrpcServer server(*loop);
  service.Register(server);
  HMVM_TRY(server.Serve(std::move(host), [&] { loop->Stop(); }));
  HMVM_TRY_ASSIGN(const Watch watch, loop->OnReadable(signals.get(), [&]() -> Result<> {
    signalfd_siginfo info;
    while (::read(signals.get(), &info, sizeof(info)) > 0) {
    }
    service.ReapChildren();
    return {};
  }));
  HMVM_TRY(loop->Run());
  ::kill(-1, SIGKILL);
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
  service.RemoveContainers();
  return {};
}

class HostAgent : public AgentUnderTest {
 public:
  static Result<std::unique_ptr<AgentUnderTest>> Start(const std::string& erofs) {
    auto agent = std::make_unique<HostAgent>();
    HMVM_TRY_ASSIGN(agent->disk_, LoopDevice::Open(erofs));
    UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    agent->address_.sun_family = AF_UNIX;  // the kernel chooses an abstract name
    agent->address_length_ = sizeof(agent->address_);
    if (::bind(listener.get(), agent->Address(), sizeof(sa_family_t)) < 0 ||
        ::listen(listener.get(), 64) < 0 ||
        ::getsockname(listener.get(), agent->Address(), &agent->address_length_) < 0) {
      return Error{errno, "listen for streams"};
    }
    HMVM_TRY_ASSIGN(SocketPair channel, MakeSocketPair(SOCK_STREAM));
    // Two forks: the first one's namespaces are not the test's, the second one is the first process in them.
    agent->pid_ = ::fork();
    if (agent->pid_ < 0) return Error{errno, "fork"};
    if (agent->pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      int status = 1;
      if (::unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0) ::_exit(1);
      const pid_t first = ::fork();
      if (first != 0) {
        channel.second.reset();
        ::waitpid(first, &status, 0);
        ::_exit(WEXITSTATUS(status));
      }
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      channel.first.reset();
      const auto served = ServeAsFirstProcess(std::move(channel.second), std::move(listener));
      if (!served.has_value()) (void)WriteAll(STDERR_FILENO, served.error().Message() + "\n").has_value();
      ::_exit(served.has_value() ? 0 : 1);
    }
    agent->client_ = TtrpcClient::Create(std::move(channel.first));
    return agent;
  }

  ~HostAgent() override {
    if (pid_ <= 0) return;
    client_.reset();  // the end of the connection ends the agent
    ::waitpid(pid_, nullptr, 0);
  }

  TtrpcClient& client() override { return *client_; }
  std::string lower_device() const override { return disk_.path; }
  bool limits_memory() const override {
    return false;
  }  // hosts with version 1 beside version 2 keep it there

  Result<UniqueFd> ConnectStream(uint64_t id) override {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(socket.get(), Address(), address_length_) < 0) return Error{errno, "connect a stream"};
    HMVM_TRY(WriteAll(socket.get(), std::as_bytes(std::span(&id, 1))));
    return socket;
  }

  std::optional<size_t> CountDescriptors() const override {
    const std::string pid = std::to_string(pid_);
    auto children = ReadFile("/proc/" + pid + "/task/" + pid + "/children");
    if (!children.has_value()) return std::nullopt;
    const std::filesystem::directory_iterator fds("/proc/" + children->substr(0, children->find(' ')) +
                                                  "/fd");
    return static_cast<size_t>(std::distance(begin(fds), end(fds)));
  }

 private:
  sockaddr* Address() { return reinterpret_cast<sockaddr*>(&address_); }

  LoopDevice disk_;
  sockaddr_un address_ = {};
  socklen_t address_length_ = 0;
  pid_t pid_ = 0;
  std::unique_ptr<TtrpcClient> client_;
};

}  // namespace

Result<std::unique_ptr<AgentUnderTest>> AgentUnderTest::Start(const std::string& erofs) {
  if (::geteuid() != 0) return Error{EPERM, "only root can make the namespaces"};
  return HostAgent::Start(erofs);
}

}  // namespace hmvm::agent::test
