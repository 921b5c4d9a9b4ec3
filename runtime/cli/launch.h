// How `run` and `start` bring a container up: this process splits in two, the child becomes the container's
// supervisor, the parent stays with the user's terminal.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "images/image.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/installation.h"
#include "runtime/container/store.h"
#include "runtime/snapshot/store.h"
#include "runtime/supervisor/machine.h"
#include "runtime/supervisor/stdio_pumps.h"

namespace hmvm {

// An error names the file and what helps.
Result<MachineFiles> OpenMachineFiles(const ContainerConfig& config, const Installation& installation,
                                      const Image& image);

// Adds the template of the container's machine, which is built if there is none: a boot now in place of one
// in the supervisor. Why there is none is told on standard error; the machine is booted then.
void AddTemplate(const Folders& folders, const ContainerConfig& config, const Installation& installation,
                 MachineFiles& files);

// A container with a terminal whose input is ours needs one here.
Result<> CheckTerminal(bool interactive, bool terminal);

class Launch {
 public:
  // Which of the container's standard streams are ours.
  struct Attach {
    bool input = false;
    bool output = false;  // with it we stay until the container has ended
  };

  // What can still fail without a trace. From here on a signal is for the container: it must not end us
  // between its making and its start.
  static Result<Launch> Prepare(Attach attach, bool terminal);

  // `record`: in the store with this process as its owner, Created or claimed. Returns hmvm's exit code:
  // attached, the container's; else 0 once it runs and `started` and a newline are printed.
  // `resumed`: the snapshot among `files` is that of a container, not of a template.
  Result<int> Go(const ContainerStore& store, const ContainerRecord& record, MachineFiles files,
                 const std::string& started, std::optional<SnapshotContainer> resumed = std::nullopt) &&;

 private:
  Launch() = default;

  pid_t self_ = 0;
  bool attached_ = false;
  UniqueFd supervisor_;
  UniqueFd theirs_;
  ClientStreams streams_;
  ClientStreams their_streams_;
};

}  // namespace hmvm
