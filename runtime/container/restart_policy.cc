#include "runtime/container/restart_policy.h"

#include <algorithm>
#include <charconv>

namespace hmvm {

bool RestartPolicy::Restarts(int exit_code, uint32_t restarts) const {
  switch (when) {
    case When::kNo:
      return false;
    case When::kOnFailure:
      return exit_code != 0 && (max_restarts == 0 || restarts < max_restarts);
    case When::kAlways:
    case When::kUnlessStopped:
      return true;
  }
  return false;
}

Result<RestartPolicy> ParseRestartPolicy(std::string_view text) {
  using enum RestartPolicy::When;
  constexpr std::string_view kOnFailurePrefix = "on-failure:";
  if (text == "no") return RestartPolicy{};
  if (text == "on-failure") return RestartPolicy{.when = kOnFailure};
  if (text == "always") return RestartPolicy{.when = kAlways};
  if (text == "unless-stopped") return RestartPolicy{.when = kUnlessStopped};
  if (text.starts_with(kOnFailurePrefix)) {
    const char* const begin = text.data() + kOnFailurePrefix.size();
    const char* const end = text.data() + text.size();
    RestartPolicy policy{.when = kOnFailure};
    const auto [rest, code] = std::from_chars(begin, end, policy.max_restarts);
    if (code == std::errc() && rest == end) return policy;
  }
  return Error{0, "restart policy '" + std::string(text) +
                      "': there are no, on-failure[:N], always and unless-stopped"};
}

std::string FormatRestartPolicy(const RestartPolicy& policy) {
  switch (policy.when) {
    case RestartPolicy::When::kNo:
      return "no";
    case RestartPolicy::When::kOnFailure:
      return policy.max_restarts == 0 ? "on-failure" : "on-failure:" + std::to_string(policy.max_restarts);
    case RestartPolicy::When::kAlways:
      return "always";
    case RestartPolicy::When::kUnlessStopped:
      return "unless-stopped";
  }
  return "";
}

std::chrono::milliseconds RestartBackoff::Next(std::chrono::nanoseconds ran) {
  delay_ = ran >= kGoodRun || delay_.count() == 0 ? kFirst : std::min(delay_ * 2, kLongest);
  return delay_;
}

}  // namespace hmvm
