// How much a device may do in a second, kept by token buckets. Pure arithmetic: the caller brings the time.
#pragma once

#include <cstdint>
#include <optional>

namespace hmvm {

// Limits of one disk; 0: none.
struct IoLimits {
  uint64_t read_bytes_per_s = 0;
  uint64_t write_bytes_per_s = 0;
  uint64_t read_operations_per_s = 0;
  uint64_t write_operations_per_s = 0;

  bool any() const {
    return (read_bytes_per_s | write_bytes_per_s | read_operations_per_s | write_operations_per_s) != 0;
  }
  bool operator==(const IoLimits&) const = default;
};

// Fills with `rate_per_s` tokens a second, up to what comes in kBurstNs and at least one. What is taken may
// be more than there is: the debt is worked off before the next may be taken. So a request larger than the
// bucket needs no rule of its own, and over any time T no more is taken than rate * (T + burst) and one
// request.
class TokenBucket {
 public:
  static constexpr uint64_t kBurstNs = 50'000'000;

  // 1 <= rate_per_s. Full at `now_ns`.
  TokenBucket(uint64_t rate_per_s, uint64_t now_ns);

  // 0: something may be taken. Else how long to wait until then.
  uint64_t WaitNs(uint64_t now_ns);
  // Call WaitNs with the same time first.
  void Take(uint64_t tokens);

 private:
  using Level = __int128;  // in billionths of a token, so that a nanosecond of any rate counts whole

  uint64_t rate_per_s_;
  Level capacity_;
  Level level_;  // below 0: debt
  uint64_t filled_ns_;
};

// The four buckets of a disk; those without a limit are not there.
class RateLimiter {
 public:
  enum class Direction { kRead, kWrite };

  RateLimiter(const IoLimits& limits, uint64_t now_ns);

  // 0: the request may go and has been counted. Else how many nanoseconds to wait before it is asked for
  // again. `now_ns`: CLOCK_MONOTONIC or another clock that does not run backwards.
  uint64_t Admit(Direction direction, uint64_t bytes, uint64_t now_ns);
  // Counts a request that goes whether there is room for it or not.
  void Charge(Direction direction, uint64_t bytes);

 private:
  struct Buckets {
    std::optional<TokenBucket> bytes;
    std::optional<TokenBucket> operations;
  };
  Buckets& Of(Direction direction) { return direction == Direction::kRead ? read_ : write_; }

  Buckets read_;
  Buckets write_;
};

}  // namespace hmvm
