#include "runtime/events/event_filter.h"

#include <algorithm>

namespace hmvm {

Result<> EventFilter::Add(std::string_view condition) {
  const size_t equals = condition.find('=');
  const std::string key(condition.substr(0, equals));
  const bool known = key == "container" || key == "image" || key == "event";
  if (equals == std::string_view::npos || equals + 1 == condition.size() || !known) {
    return Error{
        0, "filter '" + std::string(condition) + "': there are container=NAME, image=NAME and event=ACTION"};
  }
  wanted_[key].emplace_back(condition.substr(equals + 1));
  return {};
}

bool EventFilter::Wants(const Event& event) const {
  return std::ranges::all_of(wanted_, [&](const auto& kind) {
    return std::ranges::any_of(kind.second, [&](const std::string& value) {
      if (kind.first == "container") return event.name == value || event.id.starts_with(value);
      return value == (kind.first == "image" ? event.image : event.action);
    });
  });
}

}  // namespace hmvm
