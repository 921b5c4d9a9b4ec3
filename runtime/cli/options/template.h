// The booted guests that containers start from: template build, ls and rm.
#pragma once

#include <string>
#include <vector>

#include "runtime/cli/options/machine.h"

namespace hmvm {

class CommandGroup;

struct TemplateBuildOptions : MachineOptions {};

struct TemplateLsOptions {
  bool quiet = false;
  bool json = false;
};

struct TemplateRmOptions {
  std::vector<std::string> templates;  // ids, or their beginnings
};

void AddTemplate(CommandGroup& commands);

}  // namespace hmvm
