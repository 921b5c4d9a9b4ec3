// One thing that happened to a container, as the event log keeps it: a line of JSON.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace hmvm {

struct Event {
  int64_t unix_ns = 0;        // CLOCK_REALTIME
  uint64_t monotonic_ns = 0;  // CLOCK_MONOTONIC of the boot it happened in
  std::string action;         // a status ("running"), "removed" or "health_status"
  std::string id;             // the container's, 64 hex digits
  std::string name;
  std::string image;                                // as the user named it
  std::map<std::string, std::string> details = {};  // "exit_code", "reason", "health"

  bool operator==(const Event&) const = default;
};

// With both clocks read now.
Event NewEvent(std::string action, std::string id, std::string name, std::string image);

// One line with its newline. What is no UTF-8 is replaced.
std::string EncodeEvent(const Event& event);
// Nothing for text that is no such line.
std::optional<Event> DecodeEvent(std::string_view line);

}  // namespace hmvm
