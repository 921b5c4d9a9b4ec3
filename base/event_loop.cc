#include "base/event_loop.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cassert>

namespace hmvm {
namespace {

constexpr uint64_t kWakeId = 0;

}  // namespace

Watch::Watch(Watch&& other) noexcept
    : loop_(std::exchange(other.loop_, nullptr)), fd_(other.fd_), id_(other.id_) {}

Watch& Watch::operator=(Watch&& other) noexcept {
  Watch taken(std::move(other));
  std::swap(loop_, taken.loop_);
  std::swap(fd_, taken.fd_);
  std::swap(id_, taken.id_);
  return *this;
}

Watch::~Watch() {
  if (loop_ != nullptr) loop_->Remove(fd_, id_);
}

Result<> Watch::SetEvents(uint32_t events) {
  assert(loop_->OnItsThread());
  epoll_event event = {.events = events, .data = {.u64 = id_}};
  if (::epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_MOD, fd_, &event) < 0) return Error{errno, "change watch"};
  return {};
}

Result<std::unique_ptr<EventLoop>> EventLoop::Create(const Placement& place) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return Error{errno, "create epoll"};
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return Error{errno, "create eventfd"};
  if (place) {
    HMVM_TRY_ASSIGN(epoll, place(std::move(epoll)));
    HMVM_TRY_ASSIGN(wake, place(std::move(wake)));
  }
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = kWakeId}};
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) < 0) return Error{errno, "watch eventfd"};
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll), std::move(wake)));
}

EventLoop::~EventLoop() = default;

Result<Watch> EventLoop::OnReadable(int fd, Handler handler) {
  return OnEvents(fd, EPOLLIN, [handler = std::move(handler)](uint32_t) { return handler(); });
}

Result<Watch> EventLoop::OnEvents(int fd, uint32_t events, EventsHandler handler) {
  assert(OnItsThread());
  const uint64_t id = next_id_++;
  epoll_event event = {.events = events, .data = {.u64 = id}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) {
    return Error{errno, "watch descriptor " + std::to_string(fd)};
  }
  entries_.push_back(std::make_shared<Entry>(Entry{id, std::move(handler)}));
  return Watch(this, fd, id);
}

void EventLoop::Remove(int fd, uint64_t id) {
  assert(OnItsThread());
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  std::erase_if(entries_, [id](const auto& entry) { return entry->id == id; });
}

bool EventLoop::OnItsThread() const {
  const std::thread::id runner = runner_.load(std::memory_order_relaxed);
  return runner == std::thread::id() || runner == std::this_thread::get_id();
}

void EventLoop::Post(Task task) {
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(task));
  }
  ::eventfd_write(wake_.get(), 1);
}

void EventLoop::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  ::eventfd_write(wake_.get(), 1);
}

Result<> EventLoop::RunPosted() {
  eventfd_t count;
  ::eventfd_read(wake_.get(), &count);
  std::vector<Task> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(posted_);
  }
  for (Task& task : tasks) task();
  return {};
}

Result<> EventLoop::Run() {
  assert(runner_.load(std::memory_order_relaxed) == std::thread::id());
  runner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  auto served = Serve();
  runner_.store(std::thread::id(), std::memory_order_relaxed);
  return served;
}

Result<> EventLoop::Serve() {
  std::array<epoll_event, 32> events;
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (stopped_) break;
    }
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error{errno, "epoll_wait"};
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[i].data.u64;
      if (id == kWakeId) {
        HMVM_TRY(RunPosted());
        continue;
      }
      // An earlier handler of this batch may have removed the entry; the copy keeps this one alive while it
      // removes itself.
      const auto found = std::ranges::find(entries_, id, [](const auto& entry) { return entry->id; });
      if (found == entries_.end()) continue;
      const std::shared_ptr<Entry> entry = *found;
      HMVM_TRY(entry->handler(events[i].events));
    }
  }
  HMVM_TRY(RunPosted());
  std::lock_guard lock(mutex_);
  stopped_ = false;
  return {};
}

}  // namespace hmvm
