#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hmvm::agent {

struct EnvironmentDefaults {
  std::string hostname;
  std::string home;
  bool terminal = false;
};

// The environment a process gets: `given` ("K=V"; of several with one name the last counts; entries without
// '=' are dropped), completed by docker's defaults for PATH, HOSTNAME, HOME and, with a terminal, TERM.
std::vector<std::string> CompleteEnvironment(const std::vector<std::string>& given,
                                             const EnvironmentDefaults& defaults);

// The value of `name`; empty if it is not there.
std::string_view EnvironmentValue(const std::vector<std::string>& environment, std::string_view name);

}  // namespace hmvm::agent
