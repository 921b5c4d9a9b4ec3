#include "vmm/virtio/console.h"

#include <linux/virtio_console.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "vmm/virtio/io_vectors.h"

namespace hmvm {
namespace {

constexpr uint16_t kQueueSizes[] = {64, 64};
// What one chain may print, so that none can keep the device thread for long. Linux sends less than half of
// it.
constexpr size_t kMaxChainBytes = 64 << 10;

bool Ready(int fd, short events) {
  pollfd poll = {.fd = fd, .events = events, .revents = 0};
  return ::poll(&poll, 1, 0) > 0;
}

// Writes what `fd` takes at once; 0 when it takes nothing, negative when it never will again. The descriptor
// may be shared with others and blocking, so O_NONBLOCK is not ours to set: a pipe or terminal that polls
// writable takes PIPE_BUF bytes.
ssize_t WriteSome(int fd, const iovec& bytes) {
  if (!Ready(fd, POLLOUT)) return 0;
  const ssize_t written = ::write(fd, bytes.iov_base, std::min<size_t>(bytes.iov_len, PIPE_BUF));
  return written < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : written;
}

}  // namespace

Result<std::unique_ptr<VirtioDevice>> Console::Create(Options options, EventLoop& loop) {
  std::unique_ptr<Console> console(new Console(std::move(options)));
  HMVM_TRY(console->WatchFiles(loop));
  return console;
}

Result<> Console::WatchFiles(EventLoop& loop) {
  if (options_.output.valid()) {
    auto watch = loop.OnEvents(options_.output.get(), EPOLLOUT | EPOLLET, [this](uint32_t) -> Result<> {
      std::lock_guard lock(mutex());
      Flush();
      return {};
    });
    if (watch.has_value()) {
      output_watch_ = std::move(*watch);
    } else if (watch.error().code != EPERM) {  // EPERM: a regular file, never waited for
      return watch.error();
    }
  }
  if (options_.input.valid()) {
    HMVM_TRY_ASSIGN(input_watch_, loop.OnEvents(options_.input.get(), EPOLLIN | EPOLLET,
                                                [this, &loop](uint32_t) -> Result<> {
                                                  OnInput(loop);
                                                  return {};
                                                }));
  }
  return {};
}

void Console::OnInput(EventLoop& loop) {
  std::lock_guard lock(mutex());
  readable_ = true;
  // More than one round: let the loop's other handlers have their turn first.
  if (OnQueueNotify(kReceiveQueue)) loop.Post([this, &loop] { OnInput(loop); });
}

std::span<const uint16_t> Console::QueueSizes() const { return kQueueSizes; }

void Console::ReadConfig(uint64_t offset, std::span<std::byte> bytes) const {
  ReadConfigFrom(virtio_console_config{}, offset, bytes);  // its fields belong to features we do not offer
}

Result<> Console::Activate(Activation activation) {
  if (active_) return Error{EBUSY, "console is active"};
  active_ = std::move(activation);
  return {};
}

void Console::Reset() {
  active_.reset();
  receive_held_ = false;
}

bool Console::OnQueueNotify(uint16_t queue) {
  if (!active_ || !active_->queues[queue].ready()) return false;
  const auto more = queue == kTransmitQueue ? Transmit() : Receive();
  if (active_->queues[queue].ShouldSignal()) active_->interrupt->SignalUsed();
  if (!more.has_value()) active_->interrupt->SetNeedsReset(more.error());
  return more.value_or(false);
}

Result<bool> Console::Transmit() {
  Queue& queue = active_->queues[kTransmitQueue];
  for (uint16_t budget = queue.size(); budget > 0; --budget) {
    HMVM_TRY_ASSIGN(const bool popped, queue.Pop(transmit_chain_));
    if (!popped) return false;
    Print(KeepFront(transmit_chain_.readable(), kMaxChainBytes));
    if (transmit_chain_.readable_bytes() > kMaxChainBytes) {
      dropped_bytes_ += transmit_chain_.readable_bytes() - kMaxChainBytes;
    }
    queue.PushUsed(transmit_chain_.head(), 0);
  }
  return true;
}

void Console::Print(std::span<const iovec> buffers) {
  for (const iovec& buffer : buffers) {
    std::span<const std::byte> bytes(static_cast<const std::byte*>(buffer.iov_base), buffer.iov_len);
    while (options_.output.valid() && !bytes.empty()) {
      const size_t taken = backlog_.Append(bytes);
      bytes = bytes.subspan(taken);
      Flush();
      if (taken == 0 && backlog_.free() == 0) break;
    }
    dropped_bytes_ += bytes.size();
  }
}

void Console::Flush() {
  while (!backlog_.empty()) {
    const ssize_t written = WriteSome(options_.output.get(), backlog_.Parts()[0]);
    if (written == 0) return;  // an event will tell
    if (written < 0) {
      // The reader has gone, or the disk is full: it does not concern the guest.
      dropped_bytes_ += backlog_.size();
      backlog_.Clear();
      return;
    }
    backlog_.Consume(static_cast<size_t>(written));
    output_bytes_ += static_cast<uint64_t>(written);
  }
}

Result<bool> Console::Receive() {
  Queue& queue = active_->queues[kReceiveQueue];
  uint16_t budget = queue.size();
  for (; budget > 0 && readable_; --budget) {
    if (!receive_held_) {
      HMVM_TRY_ASSIGN(receive_held_, queue.Pop(receive_chain_));
      if (!receive_held_) return false;
    }
    if (receive_chain_.writable().empty()) return Error{0, "console receive buffer that can't be written"};
    // Blocking or not, a readable descriptor gives what it has.
    if (!Ready(options_.input.get(), POLLIN)) {
      readable_ = false;
      break;
    }
    const iovec& buffer = receive_chain_.writable().front();
    const ssize_t got = ::read(options_.input.get(), buffer.iov_base, buffer.iov_len);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      readable_ = false;  // the end: the guest's console just stays silent
      break;
    }
    input_bytes_ += static_cast<uint64_t>(got);
    queue.PushUsed(receive_chain_.head(), static_cast<uint32_t>(got));
    receive_held_ = false;
  }
  return budget == 0;
}

std::vector<QueueState> Console::QueueStates() const {
  std::vector<QueueState> states = StatesOf(active_);
  if (receive_held_) --states[kReceiveQueue].next_available;
  return states;
}

void Console::Save(snapshot::VirtioState* state) const {
  std::string* const backlog = state->mutable_console()->mutable_backlog();
  for (const iovec& part : backlog_.Parts()) {
    backlog->append(static_cast<const char*>(part.iov_base), part.iov_len);
  }
}

Result<> Console::Restore(const snapshot::VirtioState& state) {
  if (!state.has_console()) return Error{EINVAL, "no state of a console"};
  const std::string& backlog = state.console().backlog();
  if (backlog.size() > kBufferBytes) return Error{EINVAL, "more output than the console holds back"};
  if (!options_.output.valid()) return {};
  backlog_.Append(std::as_bytes(std::span(backlog)));
  Flush();
  return {};
}

CounterList Console::Counters() const {
  return {{"output_bytes", output_bytes_}, {"dropped_bytes", dropped_bytes_}, {"input_bytes", input_bytes_}};
}

}  // namespace hmvm
