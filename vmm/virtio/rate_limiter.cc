#include "vmm/virtio/rate_limiter.h"

#include <algorithm>

namespace hmvm {
namespace {

constexpr __int128 kScale = 1'000'000'000;  // of a level; also the nanoseconds of a second
constexpr uint64_t kLongestNs = uint64_t{1}
                                << 62;  // beyond it the highest rate would leave the range of a level

std::optional<TokenBucket> MakeBucket(uint64_t rate_per_s, uint64_t now_ns) {
  if (rate_per_s == 0) return std::nullopt;
  return TokenBucket(rate_per_s, now_ns);
}

}  // namespace

TokenBucket::TokenBucket(uint64_t rate_per_s, uint64_t now_ns)
    : rate_per_s_(rate_per_s),
      capacity_(std::max<Level>(Level{rate_per_s} * kBurstNs, kScale)),
      level_(capacity_),
      filled_ns_(now_ns) {}

uint64_t TokenBucket::WaitNs(uint64_t now_ns) {
  if (now_ns > filled_ns_) {
    const uint64_t passed_ns = std::min(now_ns - filled_ns_, kLongestNs);
    level_ = std::min(capacity_, level_ + Level{passed_ns} * rate_per_s_);
    filled_ns_ = now_ns;
  }
  // A whole token: of a bucket of one, the next comes a whole interval after the last.
  const Level missing = std::min(capacity_, kScale) - level_;
  if (missing <= 0) return 0;
  return static_cast<uint64_t>((missing + rate_per_s_ - 1) / rate_per_s_);
}

void TokenBucket::Take(uint64_t tokens) { level_ -= Level{tokens} * kScale; }

RateLimiter::RateLimiter(const IoLimits& limits, uint64_t now_ns)
    : read_{MakeBucket(limits.read_bytes_per_s, now_ns), MakeBucket(limits.read_operations_per_s, now_ns)},
      write_{MakeBucket(limits.write_bytes_per_s, now_ns),
             MakeBucket(limits.write_operations_per_s, now_ns)} {}

uint64_t RateLimiter::Admit(Direction direction, uint64_t bytes, uint64_t now_ns) {
  Buckets& buckets = Of(direction);
  uint64_t wait_ns = 0;
  if (buckets.bytes) wait_ns = buckets.bytes->WaitNs(now_ns);
  if (buckets.operations) wait_ns = std::max(wait_ns, buckets.operations->WaitNs(now_ns));
  if (wait_ns == 0) Charge(direction, bytes);
  return wait_ns;
}

void RateLimiter::Charge(Direction direction, uint64_t bytes) {
  Buckets& buckets = Of(direction);
  if (buckets.bytes) buckets.bytes->Take(bytes);
  if (buckets.operations) buckets.operations->Take(1);
}

}  // namespace hmvm
