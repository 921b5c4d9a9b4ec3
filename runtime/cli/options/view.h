// What shows containers and changes nothing: ps, logs, events, stats, top, inspect.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/events/event_filter.h"

namespace hmvm {

class CommandGroup;

struct PsOptions {
  bool all = false;
  bool quiet = false;
  bool json = false;
};

struct LogsOptions {
  bool follow = false;
  std::optional<uint64_t> tail;
  std::string container;
};

struct EventsOptions {
  bool follow = false;
  int64_t since_unix_ns = 0;
  EventFilter filter;
};

struct StatsOptions {
  bool no_stream = false;
  bool json = false;
  std::vector<std::string> containers;  // empty: all that run
};

struct TopOptions {
  bool json = false;
  std::string container;
};

struct InspectOptions {
  std::vector<std::string> containers;
};

void AddPs(CommandGroup& commands);
void AddLogs(CommandGroup& commands);
void AddEvents(CommandGroup& commands);
void AddStats(CommandGroup& commands);
void AddTop(CommandGroup& commands);
void AddInspect(CommandGroup& commands);

}  // namespace hmvm
