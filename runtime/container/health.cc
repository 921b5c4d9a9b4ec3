#include "runtime/container/health.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace hmvm {
namespace {

constexpr std::pair<Health, std::string_view> kNames[] = {{Health::kNone, "none"},
                                                          {Health::kStarting, "starting"},
                                                          {Health::kHealthy, "healthy"},
                                                          {Health::kUnhealthy, "unhealthy"}};

// The image's form: the first word says how the others are meant.
Result<std::vector<std::string>> CommandOf(const std::vector<std::string>& test) {
  if (test.empty() || test[0] == "NONE") return std::vector<std::string>();
  if (test[0] == "CMD" && test.size() > 1) return std::vector<std::string>(test.begin() + 1, test.end());
  if (test[0] == "CMD-SHELL" && test.size() == 2) return std::vector<std::string>{"/bin/sh", "-c", test[1]};
  return Error{0, "the image's health check begins with '" + test[0] +
                      "': only NONE, CMD and CMD-SHELL with a command are known; see --no-healthcheck"};
}

// 0 in an image means docker's default.
void Take(std::chrono::nanoseconds& value, int64_t image_ns,
          const std::optional<std::chrono::nanoseconds>& wish) {
  if (image_ns != 0) value = std::chrono::nanoseconds(image_ns);
  if (wish.has_value() && wish->count() != 0) value = *wish;
}

}  // namespace

Result<HealthCheck> MergeHealthCheck(const ImageHealthCheck& image, const HealthWishes& wishes) {
  if (wishes.none) {
    if (wishes != HealthWishes{.none = true}) {
      return Error{0, "--no-healthcheck and other options of health checks contradict each other"};
    }
    return HealthCheck{};
  }
  HealthCheck check;
  if (wishes.command.empty()) {
    HMVM_TRY_ASSIGN(check.command, CommandOf(image.test));
  } else {
    check.command = {"/bin/sh", "-c", wishes.command};
  }
  Take(check.interval, image.interval_ns, wishes.interval);
  Take(check.timeout, image.timeout_ns, wishes.timeout);
  Take(check.start_period, image.start_period_ns, wishes.start_period);
  if (image.retries != 0) check.retries = image.retries;
  if (wishes.retries.value_or(0) != 0) check.retries = *wishes.retries;
  return check;
}

std::string_view HealthName(Health health) {
  return std::ranges::find_if(kNames, [&](const auto& entry) { return entry.first == health; })->second;
}

std::optional<Health> HealthFromName(std::string_view name) {
  const auto* const found =
      std::ranges::find_if(kNames, [&](const auto& entry) { return entry.second == name; });
  if (found == std::end(kNames)) return std::nullopt;
  return found->first;
}

bool HealthRecord::Add(const HealthCheck& check, ProbeResult result, bool in_start_period) {
  const Health before = status;
  if (result.exit_code == 0) {
    failures = 0;
    status = Health::kHealthy;
  } else if (status != Health::kStarting || !in_start_period) {
    // After a success there is no start period any more.
    ++failures;
    if (failures >= check.retries) status = Health::kUnhealthy;
  }
  if (last.size() >= kKept) last.erase(last.begin());
  last.push_back(std::move(result));
  return status != before;
}

}  // namespace hmvm
