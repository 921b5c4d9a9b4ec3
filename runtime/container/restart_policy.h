// Whether and when a container that has ended is started again, by docker's rules.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hmvm {

struct RestartPolicy {
  enum class When { kNo, kOnFailure, kAlways, kUnlessStopped };

  When when = When::kNo;
  uint32_t max_restarts = 0;  // of kOnFailure; 0: any number

  bool operator==(const RestartPolicy&) const = default;

  // After a run that ended with `exit_code`, not because somebody asked it to, `restarts` times after
  // restarts.
  bool Restarts(int exit_code, uint32_t restarts) const;
};

// "no", "on-failure", "on-failure:3", "always", "unless-stopped".
Result<RestartPolicy> ParseRestartPolicy(std::string_view text);
std::string FormatRestartPolicy(const RestartPolicy& policy);

// How long to wait before a restart: 100 ms, doubling up to a minute, so that what can't run does not keep
// the host busy; from the beginning again after a run of 10 seconds.
class RestartBackoff {
 public:
  static constexpr std::chrono::milliseconds kFirst{100};
  static constexpr std::chrono::milliseconds kLongest{60'000};
  static constexpr std::chrono::seconds kGoodRun{10};

  std::chrono::milliseconds Next(std::chrono::nanoseconds ran);

 private:
  std::chrono::milliseconds delay_{0};
};

}  // namespace hmvm
