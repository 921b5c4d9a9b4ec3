// Security profiles: profile check and show.
#pragma once

#include <string>
#include <vector>

namespace hmvm {

class CommandGroup;

struct ProfileCheckOptions {
  std::vector<std::string> files;
};

struct ProfileShowOptions {
  std::string profile;  // a name or a file
};

void AddProfile(CommandGroup& commands);

}  // namespace hmvm
