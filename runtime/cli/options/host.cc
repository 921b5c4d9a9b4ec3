#include "runtime/cli/options/host.h"

#include "runtime/cli/options/shared.h"

namespace hmvm {

void AddCheck(CommandGroup& commands) {
  auto check = commands.Add<CheckOptions>(
      {.name = "check",
       .description = "Show what this host offers to microVMs, and what that means",
       .usage = "check [OPTIONS]",
       .examples = "  hmvm check\n"
                   "  hmvm check --format json"});
  AddFormat(check, check->json);
}

void AddVersion(CommandGroup& commands) {
  auto version = commands.Add<VersionOptions>({.name = "version",
                                               .description = "Show the version",
                                               .usage = "version [OPTIONS]",
                                               .examples = "  hmvm version"});
  AddFormat(version, version->json);
}

}  // namespace hmvm
