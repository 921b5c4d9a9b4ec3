// hmvm-agent: the first process of the guest. Dials the host, serves guest/api/agent.proto, and cuts the
// power when asked to or when the host has gone.
#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/event_loop.h"
#include "base/file.h"
#include "base/ttrpc/server.h"
#include "guest/agent/kmsg.h"
#include "guest/agent/service.h"
#include "guest/agent/streams.h"
#include "guest/agent/system.h"
#include "guest/agent/vsock.h"

namespace hmvm::agent {
namespace {

constexpr uint32_t kAgentPort = 1024;    // the host's: agent.proto
constexpr uint32_t kStreamsPort = 1025;  // the guest's

// Descriptors 0 to 2 must be taken, so that no other one gets their numbers.
void TakeStdio() {
  while (::fcntl(STDERR_FILENO, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) >= 0) {
  }
}

Result<UniqueFd> WatchChildren() {
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &children, nullptr);
  UniqueFd signals(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.valid()) return Error{errno, "signalfd"};
  return signals;
}

// Serves until somebody asks to cut the power.
Result<> Serve() {
  HMVM_TRY_ASSIGN(auto loop, EventLoop::Create());
  HMVM_TRY_ASSIGN(UniqueFd listener, ListenToHost(kStreamsPort));
  HMVM_TRY_ASSIGN(UniqueFd host, DialHost(kAgentPort));
  Log(Severity::kInfo, "connected to the host");
  HMVM_TRY(PrepareSystem());
  HMVM_TRY_ASSIGN(auto streams, StreamRegistry::Create(*loop, std::move(listener)));
  AgentService service(*loop, *streams, [&loop] { loop->Stop(); });
  TtrpcServer server(*loop);
  service.Register(server);
  HMVM_TRY(service.MakeReady());
  HMVM_TRY(server.Serve(std::move(host), [&loop] {
    Log(Severity::kWarning, "the host has closed the connection");
    loop->Stop();
  }));
  HMVM_TRY_ASSIGN(const UniqueFd children, WatchChildren());
  HMVM_TRY_ASSIGN(const Watch children_watch, loop->OnReadable(children.get(), [&]() -> Result<> {
    signalfd_siginfo info;
    while (::read(children.get(), &info, sizeof(info)) > 0) {
    }
    service.ReapChildren();
    return {};
  }));
  const auto ended = loop->Run();
  KillEverything();
  service.RemoveContainers();
  return ended;
}

int Main() {
  if (::getpid() != 1) {
    static constexpr char kMessage[] = "hmvm-agent: runs as the first process of a guest only\n";
    (void)!::write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
    return 1;
  }
  TakeStdio();
  if (const auto served = Serve(); !served.has_value()) {
    Log(Severity::kError, served.error().Message());
    return 1;  // the end of the first process is a panic: the host shall see that this was no good end
  }
  CutPower();
  Log(Severity::kError, "this machine cannot be switched off");
  for (;;) ::pause();
}

}  // namespace
}  // namespace hmvm::agent

int main() { return hmvm::agent::Main(); }
