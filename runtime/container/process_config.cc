#include "runtime/container/process_config.h"

#include <signal.h>
#include <string.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <sstream>

#include "base/file.h"

namespace hmvm {
namespace {

std::string_view KeyOf(std::string_view variable) { return variable.substr(0, variable.find('=')); }

Error NotASignal(std::string_view text) {
  return Error{0,
               "'" + std::string(text) + "' is no signal: give a name such as TERM or a number from 1 to 64"};
}

}  // namespace

Result<MergedProcess> MergeProcess(const ImageConfig& image, const ProcessWishes& wishes) {
  MergedProcess merged;
  if (wishes.entrypoint.has_value()) {
    if (!wishes.entrypoint->empty()) merged.args = {*wishes.entrypoint};
  } else {
    merged.args = image.entrypoint;
  }
  const bool image_command = wishes.command.empty() && !wishes.entrypoint.has_value();
  const std::vector<std::string>& command = image_command ? image.cmd : wishes.command;
  merged.args.insert(merged.args.end(), command.begin(), command.end());
  if (merged.args.empty()) return Error{0, "no command: the image has none, so give one behind its name"};
  if (merged.args[0].empty()) return Error{0, "the command's name is empty"};
  MergeEnv(merged.env, image.env);
  MergeEnv(merged.env, wishes.env);
  merged.working_dir = wishes.working_dir.empty() ? image.working_dir : wishes.working_dir;
  if (merged.working_dir.empty()) merged.working_dir = "/";
  if (!merged.working_dir.starts_with('/')) {
    return Error{0, "working directory '" + merged.working_dir + "' is not an absolute path"};
  }
  merged.user = wishes.user.empty() ? image.user : wishes.user;
  return merged;
}

void MergeEnv(std::vector<std::string>& env, const std::vector<std::string>& over) {
  for (const std::string& variable : over) {
    const auto same = std::find_if(env.begin(), env.end(),
                                   [&](const std::string& other) { return KeyOf(other) == KeyOf(variable); });
    if (same == env.end()) {
      env.push_back(variable);
    } else {
      *same = variable;
    }
  }
}

Result<> AddEnvArgument(const std::string& argument, std::vector<std::string>& env) {
  if (KeyOf(argument).empty())
    return Error{0, "variable '" + argument + "' has no name: write NAME=VALUE or NAME"};
  if (argument.find('=') != std::string::npos) {
    MergeEnv(env, {argument});
  } else if (const char* value = std::getenv(argument.c_str())) {
    MergeEnv(env, {argument + "=" + value});
  }
  return {};
}

Result<> AddEnvFile(const std::string& path, std::vector<std::string>& env) {
  HMVM_TRY_ASSIGN(const std::string text, ReadFile(path, 16 << 20));
  if (text.find('\0') != std::string::npos)
    return Error{0, "environment file '" + path + "' holds a NUL byte"};
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.ends_with('\r')) line.pop_back();
    line.erase(0, line.find_first_not_of(" \t"));
    if (line.empty() || line[0] == '#') continue;
    if (auto added = AddEnvArgument(line, env); !added.has_value()) {
      return Wrap("environment file '" + path + "'", added.error());
    }
  }
  return {};
}

Result<int> ParseSignal(std::string_view text) {
  int number = 0;
  const char* end = text.data() + text.size();
  if (const auto [rest, code] = std::from_chars(text.data(), end, number);
      code == std::errc() && rest == end) {
    if (number < 1 || number > SIGRTMAX) return NotASignal(text);
    return number;
  }
  std::string name(text);
  for (char& c : name) c = static_cast<char>(::toupper(static_cast<unsigned char>(c)));
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    const char* abbreviation = ::sigabbrev_np(signal);
    if (abbreviation != nullptr && name == abbreviation) return signal;
  }
  if (name.starts_with("RTMIN")) {
    // Numbers as the kernel and the container's libc count: 34 is RTMIN for both glibc and musl.
    int offset = 0;
    const std::string_view rest = std::string_view(name).substr(5);
    if (rest.empty()) return SIGRTMIN;
    if (rest[0] == '+') {
      const char* stop = rest.data() + rest.size();
      const auto [at, code] = std::from_chars(rest.data() + 1, stop, offset);
      if (code == std::errc() && at == stop && offset >= 0 && offset <= SIGRTMAX - SIGRTMIN)
        return SIGRTMIN + offset;
    }
  }
  return NotASignal(text);
}

}  // namespace hmvm
