#include "runtime/events/event.h"

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "runtime/output/log_line.h"

namespace hmvm {
namespace {

using Json = nlohmann::ordered_json;

bool Take(const Json& object, const char* key, std::string& out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return false;
  out = found->get<std::string>();
  return true;
}

template <typename Number>
bool Take(const Json& object, const char* key, Number& out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return false;
  out = found->get<Number>();
  return true;
}

}  // namespace

Event NewEvent(std::string action, std::string id, std::string name, std::string image) {
  return {.unix_ns = NowUnixNs(),
          .monotonic_ns = NowMonotonicNs(),
          .action = std::move(action),
          .id = std::move(id),
          .name = std::move(name),
          .image = std::move(image)};
}

std::string EncodeEvent(const Event& event) {
  Json line = {{"time", FormatTime(event.unix_ns)},
               {"unix_ns", event.unix_ns},
               {"monotonic_ns", event.monotonic_ns},
               {"action", event.action},
               {"id", event.id},
               {"name", event.name},
               {"image", event.image}};
  for (const auto& [key, value] : event.details) line["details"][key] = value;
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<Event> DecodeEvent(std::string_view line) {
  const Json object = Json::parse(line, nullptr, false);
  Event event;
  if (!object.is_object() || !Take(object, "unix_ns", event.unix_ns) ||
      !Take(object, "monotonic_ns", event.monotonic_ns) || !Take(object, "action", event.action) ||
      !Take(object, "id", event.id) || !Take(object, "name", event.name) ||
      !Take(object, "image", event.image)) {
    return std::nullopt;
  }
  if (const auto details = object.find("details"); details != object.end()) {
    if (!details->is_object()) return std::nullopt;
    for (const auto& [key, value] : details->items()) {
      if (!value.is_string()) return std::nullopt;
      event.details[key] = value.get<std::string>();
    }
  }
  return event;
}

}  // namespace hmvm
