#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "base/unique_fd.h"

namespace hmvm {

class EventLoop;

// A registration with an EventLoop; destroying it deregisters. Declare it after the descriptor it watches, so
// that it goes first. Must not outlive the loop, and goes where the loop may be used: see there.
class Watch {
 public:
  Watch() = default;
  Watch(Watch&& other) noexcept;
  Watch& operator=(Watch&& other) noexcept;
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  // Replaces the set of events waited for: EPOLLIN, EPOLLOUT or 0 (errors and hang-up are always told).
  Result<> SetEvents(uint32_t events);

 private:
  friend class EventLoop;
  Watch(EventLoop* loop, int fd, uint64_t id) : loop_(loop), fd_(fd), id_(id) {}

  EventLoop* loop_ = nullptr;
  int fd_ = -1;
  uint64_t id_ = 0;
};

// A level-triggered epoll loop for one thread. Handlers may add and destroy watches, their own included; they
// must not block.
//
// Threads: all but Post() and Stop() is for the thread in Run(), the end of a watch included; while none is
// in there, for the one that has the loop: made it, or has waited for the end of Run(). Builds with
// assertions check it. Who is elsewhere and has something that owns a watch gives it away, in a task, which
// is moved and never copied: so it ends on the loop's thread.
class EventLoop {
 public:
  using Handler = std::function<Result<>()>;
  using EventsHandler = std::function<Result<>(uint32_t events)>;

  // `place` may give each of its descriptors another number.
  using Placement = std::function<Result<UniqueFd>(UniqueFd)>;
  static Result<std::unique_ptr<EventLoop>> Create(const Placement& place = {});
  ~EventLoop();

  // Calls `handler` whenever `fd` can be read or has hung up.
  Result<Watch> OnReadable(int fd, Handler handler);
  // Calls `handler` with the events that occurred, of `events` (EPOLLIN, EPOLLOUT) and EPOLLERR, EPOLLHUP.
  // With EPOLLET in `events` only changes are told: the handler remembers what it left undone.
  Result<Watch> OnEvents(int fd, uint32_t events, EventsHandler handler);

  // Runs and destroys `task` on the loop's thread, in the order of the calls; without a Run() to come it is
  // only destroyed, with the loop. Thread-safe.
  void Post(Task task);
  // Makes Run() return after the handler now running and the tasks posted so far: an answer that another
  // thread has left there still goes out. Thread-safe.
  void Stop();
  // Handles events until Stop() or until a handler returns an error, which it then returns.
  Result<> Run();

 private:
  friend class Watch;
  struct Entry {
    uint64_t id;
    EventsHandler handler;
  };

  EventLoop(UniqueFd epoll, UniqueFd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {}
  void Remove(int fd, uint64_t id);
  Result<> RunPosted();
  Result<> Serve();
  bool OnItsThread() const;

  UniqueFd epoll_;
  UniqueFd wake_;
  uint64_t next_id_ = 1;
  std::vector<std::shared_ptr<Entry>> entries_;
  std::atomic<std::thread::id> runner_;  // none: Run() is not under way

  std::mutex mutex_;
  std::vector<Task> posted_;
  bool stopped_ = false;
};

}  // namespace hmvm
