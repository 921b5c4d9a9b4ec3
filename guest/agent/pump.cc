#include "guest/agent/pump.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"

namespace hmvm::agent {

void Pump::SetSource(UniqueFd source) {
  source_ = std::move(source);
  (void)SetNonBlocking(source_.get(), true).has_value();  // fails for no descriptor that is open
  Start();
}

void Pump::SetSink(UniqueFd sink) {
  sink_ = std::move(sink);
  (void)SetNonBlocking(sink_.get(), true).has_value();
  Start();
}

void Pump::Start() {
  if (!source_.valid() || !sink_.valid() || done_ || held_) return;
  if (buffer_ == nullptr) buffer_ = std::make_unique_for_overwrite<char[]>(kBufferBytes);
  // A source that ends while it is empty wakes nobody; the sink takes bytes sooner or later.
  if (left_bytes_.has_value() || begin_ != end_) return Wait(sink_.get(), EPOLLOUT);
  Wait(source_.get(), EPOLLIN);
}

void Pump::EndAfterBuffered() {
  if (done_ || left_bytes_.has_value()) return;
  if (!source_.valid()) return Finish();
  int buffered = 0;
  if (::ioctl(source_.get(), FIONREAD, &buffered) < 0) buffered = 0;
  left_bytes_ = static_cast<size_t>(buffered);
  if (sink_.valid()) Wait(sink_.get(), EPOLLOUT);
}

void Pump::Hold() {
  held_ = true;
  Unwatch();
}

void Pump::Release() {
  held_ = false;
  Start();
}

void Pump::LoseSource() {
  Unwatch();
  source_.reset();
}

void Pump::LoseSink() {
  Unwatch();
  sink_.reset();
}

void Pump::Run() {
  for (int turn = 0; turn < kBuffersPerTurn; ++turn) {
    const Step step = begin_ == end_ ? Fill() : Drain();
    if (step == Step::kEnd) return Finish();
    if (step == Step::kWaitSource) return Wait(source_.get(), EPOLLIN);
    if (step == Step::kWaitSink) return Wait(sink_.get(), EPOLLOUT);
  }
  // Both may be ready; the loop comes back here at once.
  if (begin_ == end_ && !left_bytes_.has_value()) return Wait(source_.get(), EPOLLIN);
  Wait(sink_.get(), EPOLLOUT);
}

Pump::Step Pump::Fill() {
  const size_t wanted = std::min(kBufferBytes, left_bytes_.value_or(kBufferBytes));
  if (wanted == 0) return Step::kEnd;
  const ssize_t got = ::read(source_.get(), buffer_.get(), wanted);
  if (got < 0 && errno == EINTR) return Step::kAgain;
  // A pipe that was to give left_bytes_ more and has none: somebody else has read them.
  if (got < 0 && errno == EAGAIN) return left_bytes_.has_value() ? Step::kEnd : Step::kWaitSource;
  if (got <= 0) return Step::kEnd;  // EIO is how a pty master reports that no slave is open
  begin_ = 0;
  end_ = static_cast<size_t>(got);
  if (left_bytes_.has_value()) *left_bytes_ -= end_;
  return Step::kAgain;
}

Pump::Step Pump::Drain() {
  const ssize_t put = ::write(sink_.get(), buffer_.get() + begin_, end_ - begin_);
  if (put < 0 && errno == EINTR) return Step::kAgain;
  if (put < 0 && errno == EAGAIN) return Step::kWaitSink;
  if (put < 0) return Step::kEnd;
  begin_ += static_cast<size_t>(put);
  return Step::kAgain;
}

void Pump::Wait(int fd, uint32_t event) {
  if (held_ || watched_fd_ == fd) return;
  // Only the end that is waited for is watched: a hang-up of the other one would wake the loop without end.
  Unwatch();
  auto watch = loop_.OnEvents(fd, event, [this](uint32_t) -> Result<> {
    Run();
    return {};
  });
  if (!watch.has_value()) return Finish();  // out of memory: the stream ends rather than hangs
  watch_ = std::move(*watch);
  watched_fd_ = fd;
}

void Pump::Unwatch() {
  watch_ = Watch();
  watched_fd_ = -1;
}

void Pump::Finish() {
  watch_ = Watch();
  ::shutdown(sink_.get(), SHUT_WR);  // no effect on a sink that is no socket
  source_.reset();
  sink_.reset();
  buffer_.reset();
  done_ = true;
  const std::function<void()> on_done = std::move(on_done_);
  if (on_done) on_done();
}

}  // namespace hmvm::agent
