// What runs in the container: the image's configuration with the user's wishes over it, by docker's rules.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "images/image.h"

namespace hmvm {

struct ProcessWishes {
  std::vector<std::string> command = {};       // behind IMAGE
  std::optional<std::string> entrypoint = {};  // --entrypoint; empty drops the image's
  std::vector<std::string> env = {};           // "K=V", later ones win
  std::string working_dir = {};
  std::string user = {};
};

struct MergedProcess {
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string working_dir;  // "/" when nobody names one
  std::string user;
};

// The command: entrypoint + arguments. A given entrypoint drops the image's command too; a given command
// replaces the image's command only. An error when nothing is left to run.
Result<MergedProcess> MergeProcess(const ImageConfig& image, const ProcessWishes& wishes);

// Puts `over` on `env`: same key replaces in place, new keys follow.
void MergeEnv(std::vector<std::string>& env, const std::vector<std::string>& over);

// What -e takes: "K=V", or "K" to hand on our own variable (dropped when we have none).
Result<> AddEnvArgument(const std::string& argument, std::vector<std::string>& env);
// The lines of an --env-file: the same, "#" begins a comment line, empty lines are nothing.
Result<> AddEnvFile(const std::string& path, std::vector<std::string>& env);

// "SIGTERM", "TERM", "15" -> 15; case does not matter. Real-time signals as numbers or RTMIN+N.
Result<int> ParseSignal(std::string_view text);

}  // namespace hmvm
