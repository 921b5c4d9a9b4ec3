#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/events/event.h"

namespace hmvm {

// Which events are wanted: of each kind of condition that was given, one must hold.
class EventFilter {
 public:
  // "container=NAME or beginning of an id", "image=NAME", "event=ACTION". EINVAL for another.
  Result<> Add(std::string_view condition);
  bool Wants(const Event& event) const;

  bool operator==(const EventFilter&) const = default;

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> wanted_;
};

}  // namespace hmvm
