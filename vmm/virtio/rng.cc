#include "vmm/virtio/rng.h"

#include <sys/random.h>

#include <algorithm>

namespace hmvm {
namespace {

constexpr uint16_t kQueueSizes[] = {64};
// One request gets at most this much, so that none can keep the device thread for long. §5.4.6 lets the
// device write less than the buffer holds.
constexpr size_t kMaxRequestBytes = 64 << 10;

size_t FillRandom(std::span<const iovec> buffers) {
  size_t filled = 0;
  for (const iovec& buffer : buffers) {
    const size_t wanted = std::min(buffer.iov_len, kMaxRequestBytes - filled);
    if (wanted == 0) break;
    const ssize_t got = ::getrandom(buffer.iov_base, wanted, 0);
    if (got > 0) filled += static_cast<size_t>(got);
    if (got != static_cast<ssize_t>(wanted)) break;  // a signal came: what is there is random, and enough
  }
  return filled;
}

}  // namespace

std::span<const uint16_t> Rng::QueueSizes() const { return kQueueSizes; }

void Rng::ReadConfig(uint64_t, std::span<std::byte> bytes) const { std::ranges::fill(bytes, std::byte{0}); }

Result<> Rng::Activate(Activation activation) {
  if (active_) return Error{EBUSY, "rng is active"};
  active_ = std::move(activation);
  return {};
}

bool Rng::OnQueueNotify(uint16_t) {
  if (!active_ || !active_->queues[0].ready()) return false;
  Queue& queue = active_->queues[0];
  Result<bool> popped = true;
  uint16_t budget = queue.size();
  for (; budget > 0; --budget) {
    popped = queue.Pop(chain_);
    if (!popped.has_value() || !*popped) break;
    const size_t filled = FillRandom(chain_.writable());
    queue.PushUsed(chain_.head(), static_cast<uint32_t>(filled));
    ++requests_;
    bytes_ += filled;
  }
  if (queue.ShouldSignal()) active_->interrupt->SignalUsed();
  if (!popped.has_value()) active_->interrupt->SetNeedsReset(popped.error());
  return popped.has_value() && *popped;
}

CounterList Rng::Counters() const { return {{"requests", requests_}, {"bytes", bytes_}}; }

}  // namespace hmvm
