#include "runtime/container/record.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

#include "base/clock.h"

namespace hmvm {
namespace {

ContainerEvent EventNow(Status status) {
  return {.status = status, .unix_ns = NowUnixNs(), .monotonic_ns = NowMonotonicNs()};
}

}  // namespace

int64_t ContainerRecord::EnteredUnixNs(Status status) const {
  const auto found = std::find_if(events.rbegin(), events.rend(),
                                  [&](const ContainerEvent& event) { return event.status == status; });
  return found == events.rend() ? 0 : found->unix_ns;
}

Result<> ContainerRecord::Enter(Status next) {
  if (const std::string why = WhyIllegal(status(), next); !why.empty()) {
    return Error{EBUSY, "container '" + name + "' " + why};
  }
  if (events.size() >= kMaxEvents) events.erase(events.begin() + 1);
  // Running is also what follows Resuming.
  const bool begins = status() == Status::kStarting && next == Status::kRunning;
  events.push_back(EventNow(next));
  if (next == Status::kStarting) oom_killed = false;
  if (begins) started_unix_ns = events.back().unix_ns;
  if (next == Status::kStarting) started_unix_ns = 0;
  return {};
}

ContainerRecord NewContainerRecord(std::string id, std::string name, ContainerConfig config) {
  ContainerRecord record;
  record.name = name.empty() ? id.substr(0, 12) : std::move(name);
  record.id = std::move(id);
  record.config = std::move(config);
  record.events.push_back(EventNow(Status::kCreated));
  return record;
}

std::string NewContainerId() {
  std::array<unsigned char, 32> bytes = {};
  // Never short and never fails for so few bytes once the kernel has booted (getrandom(2)).
  (void)!::getrandom(bytes.data(), bytes.size(), 0);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  for (const unsigned char byte : bytes) {
    id += kHex[byte >> 4];
    id += kHex[byte & 15];
  }
  return id;
}

Result<> CheckContainerName(std::string_view name) {
  const auto alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  bool good = !name.empty() && name.size() <= 128 && alphanumeric(name.front());
  for (const char c : name) good = good && (alphanumeric(c) || c == '_' || c == '.' || c == '-');
  if (good) return {};
  return Error{0, "name '" + std::string(name) +
                      "' is not allowed: use up to 128 of a-z A-Z 0-9 _ . - with a letter or digit first"};
}

}  // namespace hmvm
