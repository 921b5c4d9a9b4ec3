#include "guest/agent/environment.h"

#include <algorithm>

namespace hmvm::agent {
namespace {

std::string_view NameOf(std::string_view entry) { return entry.substr(0, entry.find('=')); }

}  // namespace

std::vector<std::string> CompleteEnvironment(const std::vector<std::string>& given,
                                             const EnvironmentDefaults& defaults) {
  std::vector<std::string> all = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                  "HOSTNAME=" + defaults.hostname, "HOME=" + defaults.home};
  if (defaults.terminal) all.push_back("TERM=xterm");
  for (const std::string& entry : given) {
    if (entry.find('=') == std::string::npos) continue;
    const auto same = std::ranges::find(all, NameOf(entry), NameOf);
    if (same != all.end()) {
      *same = entry;
    } else {
      all.push_back(entry);
    }
  }
  return all;
}

std::string_view EnvironmentValue(const std::vector<std::string>& environment, std::string_view name) {
  const auto found = std::ranges::find(environment, name, NameOf);
  return found == environment.end() ? std::string_view() : std::string_view(*found).substr(name.size() + 1);
}

}  // namespace hmvm::agent
