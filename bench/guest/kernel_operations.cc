#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>

#include "bench/guest/operation.h"

namespace hmvm::bench {
namespace {

// A process that sends each byte back, until the pipe to it is closed.
class Echo {
 public:
  Echo() {
    int to[2], from[2];
    Check(::pipe(to), "pipe");
    Check(::pipe(from), "pipe");
    pid_ = Check(::fork(), "fork");
    if (pid_ == 0) {
      ::close(to[1]);
      ::close(from[0]);
      char byte;
      while (::read(to[0], &byte, 1) == 1 && ::write(from[1], &byte, 1) == 1) continue;
      ::_exit(0);
    }
    ::close(to[0]);
    ::close(from[1]);
    to_ = to[1];
    from_ = from[0];
  }
  ~Echo() {
    ::close(to_);
    ::close(from_);
    ::waitpid(pid_, nullptr, 0);
  }
  void RoundTrip() const {
    char byte = 0;
    if (::write(to_, &byte, 1) != 1 || ::read(from_, &byte, 1) != 1) Fail("pipe to the other process");
  }

 private:
  pid_t pid_;
  int to_;
  int from_;
};

// Two threads on one processor with one turn between them: to hand it over and get it back are two switches.
class Turn {
 public:
  Turn() : other_([this] { OtherThread(); }) {}
  ~Turn() {
    ending_ = true;
    RoundTrip();
    other_.join();
  }
  void RoundTrip() {
    Give(1);
    Await(0);
  }

 private:
  void OtherThread() {
    bool last;
    do {
      Await(1);
      last = ending_;
      Give(0);
    } while (!last);
  }
  void Give(uint32_t turn) {
    turn_ = turn;
    ::syscall(SYS_futex, &turn_, FUTEX_WAKE_PRIVATE, 1);
  }
  void Await(uint32_t turn) {
    for (uint32_t now; (now = turn_) != turn;) ::syscall(SYS_futex, &turn_, FUTEX_WAIT_PRIVATE, now, nullptr);
  }

  std::atomic<uint32_t> turn_ = 0;
  std::atomic<bool> ending_ = false;
  std::thread other_;
};

// Keeps this thread, and those it starts, on the processor where it is.
class Pinned {
 public:
  Pinned() {
    Check(::sched_getaffinity(0, sizeof(before_), &before_), "sched_getaffinity");
    int first = 0;
    while (!CPU_ISSET(first, &before_)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    Check(::sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
  }
  ~Pinned() { ::sched_setaffinity(0, sizeof(before_), &before_); }

 private:
  cpu_set_t before_;
};

struct PinnedTurn {
  Pinned pinned;
  Turn turn;
};

}  // namespace

std::vector<Operation> KernelOperations() {
  return {
      Plain("getppid", 200, 50, [] { ::syscall(SYS_getppid); }),
      {"pipe round trip, two processes", 200,
       [] { return [echo = std::make_shared<Echo>()] { return TimeOf(10, [&] { echo->RoundTrip(); }); }; }},
      {"switch of two threads, there and back", 200,
       [] {
         return
             [both = std::make_shared<PinnedTurn>()] { return TimeOf(10, [&] { both->turn.RoundTrip(); }); };
       }},
  };
}

}  // namespace hmvm::bench
