// Health checks by docker's rules: what to run how often, and what its results say of the container.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "images/image.h"

namespace hmvm {

struct HealthCheck {
  std::vector<std::string> command;                              // arguments; empty: there is no check
  std::chrono::nanoseconds interval = std::chrono::seconds(30);  // from the end of one probe to the next
  std::chrono::nanoseconds timeout = std::chrono::seconds(30);   // then a probe is killed and has failed
  std::chrono::nanoseconds start_period{0};  // from the start on: failures do not count yet
  uint32_t retries = 3;                      // so many failures in a row mean unhealthy

  bool operator==(const HealthCheck&) const = default;
};

// What the command line says; the rest is the image's.
struct HealthWishes {
  bool none = false;         // --no-healthcheck
  std::string command = {};  // a line for the shell; empty: the image's
  std::optional<std::chrono::nanoseconds> interval = {};
  std::optional<std::chrono::nanoseconds> timeout = {};
  std::optional<std::chrono::nanoseconds> start_period = {};
  std::optional<uint32_t> retries = {};

  bool operator==(const HealthWishes&) const = default;
};

// EINVAL: wishes that contradict each other, an image's check that is neither CMD nor CMD-SHELL nor NONE.
Result<HealthCheck> MergeHealthCheck(const ImageHealthCheck& image, const HealthWishes& wishes);

enum class Health {
  kNone,  // there is no check, or the container has not run
  kStarting,
  kHealthy,
  kUnhealthy,
};
std::string_view HealthName(Health health);
std::optional<Health> HealthFromName(std::string_view name);

struct ProbeResult {
  int64_t begun_unix_ns = 0;
  int64_t ended_unix_ns = 0;
  int exit_code = 0;        // -1: it took too long, or could not be run
  std::string output = {};  // its first kMaxOutputBytes

  static constexpr size_t kMaxOutputBytes = 4096;
  bool operator==(const ProbeResult&) const = default;
};

// What is known of a container's health.
struct HealthRecord {
  Health status = Health::kNone;
  uint32_t failures = 0;               // in a row
  std::vector<ProbeResult> last = {};  // the newest kKept, the newest last

  static constexpr size_t kKept = 5;
  bool operator==(const HealthRecord&) const = default;

  // True when it has changed the status.
  bool Add(const HealthCheck& check, ProbeResult result, bool in_start_period);
};

}  // namespace hmvm
