#include "runtime/container/status.h"

#include <algorithm>
#include <iterator>
#include <span>

namespace hmvm {
namespace {

using enum Status;

struct Row {
  Status from;
  std::string_view name;
  std::span<const Status> to;
};

// A process may end by itself, and its machine may fail, in every status in which there is one: the news may
// have been under way while the machine was being held.
constexpr Status kFromCreated[] = {kStarting, kFailed};
constexpr Status kFromStarting[] = {kRunning, kRestarting, kStopping, kStopped, kFailed};
constexpr Status kFromRunning[] = {kPausing, kRestarting, kStopping, kStopped, kFailed};
constexpr Status kFromPausing[] = {kPaused, kRunning /* it can't be held */, kRestarting, kStopping, kStopped,
                                   kFailed};
constexpr Status kFromPaused[] = {kResuming, kRestarting, kStopping, kStopped, kFailed};
constexpr Status kFromResuming[] = {
    kRunning, kPaused /* it can't be let go */, kRestarting, kStopping, kStopped, kFailed};
constexpr Status kFromRestarting[] = {kStarting, kStopped, kFailed};
constexpr Status kFromStopping[] = {kStopped, kFailed};
constexpr Status kFromEnded[] = {kStarting};

constexpr Row kTable[] = {
    {kCreated, "created", kFromCreated},
    {kStarting, "starting", kFromStarting},
    {kRunning, "running", kFromRunning},
    {kPausing, "pausing", kFromPausing},
    {kPaused, "paused", kFromPaused},
    {kResuming, "resuming", kFromResuming},
    {kRestarting, "restarting", kFromRestarting},
    {kStopping, "stopping", kFromStopping},
    {kStopped, "stopped", kFromEnded},
    {kFailed, "failed", kFromEnded},
};

const Row& RowOf(Status status) {
  return *std::ranges::find_if(kTable, [&](const Row& row) { return row.from == status; });
}

}  // namespace

std::string_view StatusName(Status status) { return RowOf(status).name; }

std::optional<Status> StatusFromName(std::string_view name) {
  const auto* const found = std::ranges::find_if(kTable, [&](const Row& row) { return row.name == name; });
  if (found == std::end(kTable)) return std::nullopt;
  return found->from;
}

bool HasSupervisor(Status status) { return status != kCreated && status != kStopped && status != kFailed; }

std::string WhyIllegal(Status from, Status to) {
  const std::span<const Status> legal = RowOf(from).to;
  if (std::ranges::find(legal, to) != legal.end()) return "";
  const std::string is = "is " + std::string(StatusName(from));
  if (from == to) return is + " already";
  if (to == kPausing && from == kPaused) return is + " already";
  if (to == kStarting) return from == kPaused ? is + ": resume it instead" : is + " already";
  if (to == kResuming) return "is not paused, it " + is;
  if (!HasSupervisor(from)) return "is not running, it " + is;
  return is + " and can't be " + std::string(StatusName(to)) + " next";
}

}  // namespace hmvm
