// Too much of everything.
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "tests/attack/hostile/deeds.h"

namespace hmvm::test {
namespace {

std::string FloodLog() {
  static char text[65536];
  std::memset(text, '.', sizeof(text));
  text[sizeof(text) - 1] = '\n';
  for (size_t i = 0; i < (size_t{1} << 30) / sizeof(text); ++i) {
    if (::write(STDERR_FILENO, text, sizeof(text)) < 0) return Errno(errno);
  }
  return "";
}

std::string WriteNonsense(const std::function<ssize_t(iovec)>& write) {
  static char bytes[65536];
  uint64_t state = 88172645463325252;
  for (int round = 0; round < 64; ++round) {
    for (char& byte : bytes) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      byte = static_cast<char>(state);
    }
    const ssize_t written = write({bytes, sizeof(bytes)});
    if (written < 0) return round > 0 || errno == EAGAIN ? "" : Errno(errno);
  }
  return "";
}

std::string ExhaustDescriptors() {
  constexpr int kMany = 100'000;
  for (int i = 0; i < kMany; ++i) {
    if (::syscall(SYS_dup, STDERR_FILENO) < 0) return Errno(errno) + " after " + std::to_string(i);
  }
  return "";
}

std::string ExhaustThreads() {
  constexpr int kMany = 20'000;
  for (int i = 0; i < kMany; ++i) {
    const long pid = ::syscall(SYS_clone, uint64_t{SIGCHLD}, nullptr, nullptr, nullptr, 0);
    if (pid == 0) {
      for (;;) ::pause();
    }
    if (pid < 0) return Errno(errno) + " after " + std::to_string(i);
  }
  return "";
}

}  // namespace

const Deeds& FloodDeeds() {
  using T = const HostileTargets&;
  static const Deeds deeds = {
      {"exhaust-descriptors", [](T) { return ExhaustDescriptors(); }},
      {"exhaust-threads", [](T) { return ExhaustThreads(); }},
      {"flood-log", [](T) { return FloodLog(); }},
      {"control-garbage",
       [](T) {
         return WriteNonsense([](iovec bytes) {
           return ::syscall(SYS_sendto, kControl, bytes.iov_base, bytes.iov_len, MSG_NOSIGNAL, nullptr, 0);
         });
       }},
      {"agent-garbage",
       [](T) { return WriteNonsense([](iovec bytes) { return ::writev(kAgent, &bytes, 1); }); }},
  };
  return deeds;
}

}  // namespace hmvm::test
