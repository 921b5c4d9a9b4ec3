#include "runtime/supervisor/tail_capture.h"

#include "base/file.h"

namespace hmvm {

Result<std::unique_ptr<TailCapture>> TailCapture::Start(EventLoop& loop, UniqueFd read_end) {
  HMVM_TRY(SetNonBlocking(read_end.get(), true));
  std::unique_ptr<TailCapture> capture(new TailCapture(std::move(read_end)));
  HMVM_TRY_ASSIGN(capture->watch_, loop.OnReadable(capture->fd_.get(), [raw = capture.get()]() -> Result<> {
    raw->Drain();
    return {};
  }));
  return capture;
}

void TailCapture::Drain() {
  char chunk[16384];
  for (;;) {
    const ssize_t got = ::read(fd_.get(), chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) watch_ = Watch();  // the end would be told again and again
    if (got <= 0) return;
    text_.append(chunk, static_cast<size_t>(got));
    if (text_.size() > 2 * kKeptBytes) text_.erase(0, text_.size() - kKeptBytes);
  }
}

}  // namespace hmvm
