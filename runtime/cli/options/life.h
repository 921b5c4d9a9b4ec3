// From a container's start to its removal: start, restart, pause, resume, stop, kill, rm, wait.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hmvm {

class CommandGroup;

struct StartOptions {
  bool attach = false;
  bool interactive = false;
  std::vector<std::string> containers;
};

struct RestartOptions {
  uint32_t timeout_s = 10;
  std::vector<std::string> containers;
};

struct PauseOptions {
  std::vector<std::string> containers;
};

struct ResumeOptions {
  std::vector<std::string> containers;
};

struct StopOptions {
  uint32_t timeout_s = 10;
  std::vector<std::string> containers;
};

struct KillOptions {
  int signal = 9;
  std::vector<std::string> containers;
};

struct RmOptions {
  bool force = false;
  std::vector<std::string> containers;
};

struct WaitOptions {
  std::vector<std::string> containers;
};

void AddStart(CommandGroup& commands);
void AddRestart(CommandGroup& commands);
void AddPause(CommandGroup& commands);
void AddResume(CommandGroup& commands);
void AddStop(CommandGroup& commands);
void AddKill(CommandGroup& commands);
void AddRm(CommandGroup& commands);
void AddWait(CommandGroup& commands);

}  // namespace hmvm
