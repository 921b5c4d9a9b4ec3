// What a container is made of: run, create.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/cli/options/machine.h"
#include "runtime/container/confinement.h"
#include "runtime/container/health.h"
#include "runtime/container/resources.h"
#include "runtime/container/restart_policy.h"

namespace hmvm {

class CommandGroup;

struct RunOptions : MachineOptions {
  bool remove = false;
  bool detach = false;
  bool interactive = false;
  bool terminal = false;
  std::string name;
  std::vector<std::string> env;
  std::vector<std::string> env_files;
  std::string working_dir;
  std::string user;
  std::string hostname;
  std::optional<std::string> entrypoint;
  Resources resources;
  bool read_only = false;
  std::string security_profile = "default";
  ConfinementWishes confinement;
  std::string seccomp = "kill";
  std::string stop_signal;  // empty: the image's
  RestartPolicy restart_policy;
  bool no_template = false;
  bool require_guard = false;
  HealthWishes health;
  std::string image;
  std::vector<std::string> command;
};

// All of `run` but --detach.
struct CreateOptions : RunOptions {};

void AddRun(CommandGroup& commands);
void AddCreate(CommandGroup& commands);

}  // namespace hmvm
