#include "vmm/ending_signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "security/fd_class.h"

namespace hmvm {
namespace {

constexpr int kSignals[] = {SIGTERM, SIGINT};

int event_of_process = -1;

void Note(int) {
  const int error = errno;
  const uint64_t one = 1;
  static_cast<void>(::write(event_of_process, &one, sizeof(one)));
  errno = error;
}

void Mask(int how) {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : kSignals) ::sigaddset(&signals, signal);
  ::pthread_sigmask(how, &signals, nullptr);
}

}  // namespace

Result<EndingSignals> EndingSignals::Take() {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return Error{errno, "eventfd"};
  HMVM_TRY_ASSIGN(event, Place(fd_class::kEvents, std::move(event)));
  event_of_process = event.get();
  Mask(SIG_BLOCK);
  struct sigaction action = {};
  action.sa_handler = Note;
  action.sa_flags = SA_RESTART;
  for (const int signal : kSignals) ::sigaction(signal, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return EndingSignals(std::move(event));
}

Result<Watch> EndingSignals::Listen(EventLoop& loop, std::function<void()> handler) const {
  HMVM_TRY_ASSIGN(
      Watch watch,
      loop.OnReadable(event_.get(), [fd = event_.get(), handler = std::move(handler)]() -> Result<> {
        uint64_t count;
        static_cast<void>(::read(fd, &count, sizeof(count)));
        handler();
        return {};
      }));
  Mask(SIG_UNBLOCK);
  return watch;
}

}  // namespace hmvm
