#include "runtime/cli/options/health.h"

#include "runtime/cli/options/shared.h"
#include "runtime/container/duration.h"
#include "runtime/container/health.h"

namespace hmvm {
namespace {

Take IntoDuration(const char* option, std::optional<std::chrono::nanoseconds>& wish) {
  return [option, &wish](const std::string& typed) -> Result<> {
    auto duration = ParseDuration(typed);
    if (!duration.has_value()) return Wrap(option, duration.error());
    wish = *duration;
    return {};
  };
}

}  // namespace

void AddHealth(Arguments& arguments, HealthWishes& health) {
  arguments.Option("--health-cmd", health.command, "A shell's line that tells by its exit code how it is");
  arguments.Option("--health-interval", "", "Time between two checks (default: 30s)",
                   IntoDuration("--health-interval", health.interval));
  arguments.Option("--health-timeout", "", "How long one may take (default: 30s)",
                   IntoDuration("--health-timeout", health.timeout));
  arguments.Option("--health-retries", "", "So many failures in a row mean unhealthy (default: 3)",
                   [&health](const std::string& typed) -> Result<> {
                     const auto retries = ParseNumber(typed);
                     if (!retries.has_value() || *retries > UINT32_MAX) {
                       return Error{0, "--health-retries '" + typed + "': give a number"};
                     }
                     health.retries = static_cast<uint32_t>(*retries);
                     return {};
                   });
  arguments.Option("--health-start-period", "",
                   "Failures do not count for so long after the start (default: 0s)",
                   IntoDuration("--health-start-period", health.start_period));
  arguments.Flag("--no-healthcheck", health.none, "Without the image's health check");
}

}  // namespace hmvm
