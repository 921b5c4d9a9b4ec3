#include "vmm/virtio/rate_limiter.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

using Direction = RateLimiter::Direction;

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kStartNs = 77 * kSecondNs;

// How many requests of `bytes` go in `duration_ns` when each comes as soon as the one before it is let go.
uint64_t RequestsIn(uint64_t duration_ns, const IoLimits& limits, Direction direction, uint64_t bytes) {
  RateLimiter limiter(limits, kStartNs);
  uint64_t now_ns = kStartNs;
  uint64_t requests = 0;
  while (now_ns < kStartNs + duration_ns) {
    const uint64_t wait_ns = limiter.Admit(direction, bytes, now_ns);
    now_ns += wait_ns;
    if (wait_ns == 0) ++requests;
  }
  return requests;
}

TEST(TokenBucketTest, StartsFullAndFillsNoHigherThanItsBurst) {
  TokenBucket bucket(1000, kStartNs);
  uint64_t taken = 0;
  for (; bucket.WaitNs(kStartNs) == 0; ++taken) bucket.Take(1);
  EXPECT_EQ(taken, 50u);

  for (taken = 0; bucket.WaitNs(kStartNs + 3600 * kSecondNs) == 0; ++taken) bucket.Take(1);
  EXPECT_EQ(taken, 50u);
}

TEST(TokenBucketTest, TellsWhenTheNextTokenIsThere) {
  TokenBucket bucket(4, kStartNs);
  ASSERT_EQ(bucket.WaitNs(kStartNs), 0u);
  bucket.Take(1);

  EXPECT_EQ(bucket.WaitNs(kStartNs), kSecondNs / 4);
  EXPECT_EQ(bucket.WaitNs(kStartNs + kSecondNs / 8), kSecondNs / 8);
  EXPECT_EQ(bucket.WaitNs(kStartNs + kSecondNs / 4), 0u);
}

TEST(TokenBucketTest, ADebtIsWorkedOff) {
  TokenBucket bucket(1 << 20, kStartNs);
  ASSERT_EQ(bucket.WaitNs(kStartNs), 0u);

  bucket.Take(10 << 20);

  const uint64_t wait_ns = bucket.WaitNs(kStartNs);
  EXPECT_GT(wait_ns, 9 * kSecondNs);
  EXPECT_LT(wait_ns, 10 * kSecondNs);
  EXPECT_EQ(bucket.WaitNs(kStartNs + wait_ns - 1), 1u);
  EXPECT_EQ(bucket.WaitNs(kStartNs + wait_ns), 0u);
}

TEST(TokenBucketTest, TheExtremesOfRatesTokensAndTimesAreHarmless) {
  TokenBucket fast(UINT64_MAX, 0);
  EXPECT_EQ(fast.WaitNs(UINT64_MAX), 0u);
  fast.Take(UINT64_MAX);
  EXPECT_LE(fast.WaitNs(UINT64_MAX), kSecondNs);

  TokenBucket slow(1, UINT64_MAX - 1);
  slow.Take(UINT32_MAX);
  EXPECT_EQ(slow.WaitNs(0), UINT32_MAX * kSecondNs) << "a clock that went back fills nothing";
}

TEST(RateLimiterTest, BytesHoldWithinATenthWhateverTheSizeOfRequests) {
  constexpr uint64_t kRate = 1 << 20;
  for (const uint64_t bytes : {512u, 4096u, 65536u, 131072u}) {
    const uint64_t moved =
        bytes * RequestsIn(10 * kSecondNs, {.read_bytes_per_s = kRate}, Direction::kRead, bytes);
    EXPECT_GE(moved, 10 * kRate) << bytes;
    EXPECT_LE(moved, 11 * kRate) << bytes;
  }
}

TEST(RateLimiterTest, OperationsHoldWithinATenth) {
  const uint64_t requests =
      RequestsIn(10 * kSecondNs, {.write_operations_per_s = 37}, Direction::kWrite, 1 << 20);
  EXPECT_GE(requests, 370u);
  EXPECT_LE(requests, 407u);
}

TEST(RateLimiterTest, TheTighterOfBytesAndOperationsCounts) {
  const IoLimits limits = {.read_bytes_per_s = 1 << 20, .read_operations_per_s = 10};

  EXPECT_LE(RequestsIn(10 * kSecondNs, limits, Direction::kRead, 512), 110u);
  EXPECT_LE(RequestsIn(10 * kSecondNs, limits, Direction::kRead, 1 << 20), 11u);
}

TEST(RateLimiterTest, ADirectionWithoutALimitIsFree) {
  RateLimiter limiter({.write_bytes_per_s = 1, .write_operations_per_s = 1}, kStartNs);

  EXPECT_EQ(limiter.Admit(Direction::kWrite, 4096, kStartNs), 0u);
  EXPECT_GT(limiter.Admit(Direction::kWrite, 4096, kStartNs), 0u);
  for (int request = 0; request < 1000; ++request) {
    EXPECT_EQ(limiter.Admit(Direction::kRead, 1 << 20, kStartNs), 0u);
  }
}

TEST(RateLimiterTest, WhatIsRefusedCostsNothing) {
  RateLimiter limiter({.read_operations_per_s = 1}, kStartNs);
  ASSERT_EQ(limiter.Admit(Direction::kRead, 512, kStartNs), 0u);

  for (int asked = 0; asked < 100; ++asked) {
    EXPECT_EQ(limiter.Admit(Direction::kRead, 512, kStartNs), kSecondNs);
  }
  EXPECT_EQ(limiter.Admit(Direction::kRead, 512, kStartNs + kSecondNs), 0u);
}

TEST(RateLimiterTest, WhatIsChargedWithoutBeingAskedForDelaysTheNext) {
  RateLimiter limiter({.read_operations_per_s = 1}, kStartNs);

  limiter.Charge(Direction::kRead, 512);
  limiter.Charge(Direction::kRead, 512);

  EXPECT_EQ(limiter.Admit(Direction::kRead, 512, kStartNs), 2 * kSecondNs);
}

}  // namespace
}  // namespace hmvm
