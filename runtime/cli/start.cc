// `hmvm start` and `hmvm restart`: a container that has been made or has ended runs (again).
#include <algorithm>

#include "images/store.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/launch.h"
#include "runtime/supervisor/supervisor_client.h"

namespace hmvm {
namespace {

Result<int> Start(const Folders& folders, const ContainerStore& store, const ContainerRecord& record,
                  const std::string& name, Launch::Attach attach) {
  const ContainerConfig& config = record.config;
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  HMVM_TRY_ASSIGN(const ImageStore images, ImageStore::Open(folders.images()));
  HMVM_TRY_ASSIGN(const Image image, images.Find(config.image_id));
  HMVM_TRY_ASSIGN(MachineFiles files, OpenMachineFiles(config, installation, image));
  AddTemplate(folders, config, installation, files);
  HMVM_TRY_ASSIGN(Launch launch, Launch::Prepare(attach, config.terminal));
  auto claimed = store.Claim(record.id);
  if (!claimed.has_value())
    return claimed.error().code == EBUSY ? Error{0, claimed.error().what} : claimed.error();
  auto launched = std::move(launch).Go(store, *claimed, std::move(files), name);
  if (!launched.has_value()) (void)store.End(*claimed, Status::kFailed);
  return launched;
}

}  // namespace

Result<int> Execute(const Folders& folders, const StartOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  const bool attached = options.attach || options.interactive;
  if (attached && options.containers.size() > 1) {
    return Error{
        0, "-a and -i are for one container, " + std::to_string(options.containers.size()) + " are named"};
  }
  int exit_code = 0;
  HMVM_TRY_ASSIGN(const int failed, ForEach(options.containers, [&](const std::string& name) -> Result<> {
                    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
                    // One that runs is as it should be, unless its output is wanted too.
                    if (record.status() == Status::kRunning && !attached) return Print(name + "\n");
                    const ContainerConfig& config = record.config;
                    const bool input = options.interactive && config.open_stdin;
                    HMVM_TRY(CheckTerminal(input, config.terminal));
                    HMVM_TRY_ASSIGN(const int code, Start(folders, store, record, name,
                                                          {.input = input, .output = attached}));
                    exit_code = std::max(exit_code, code);
                    return {};
                  }));
  return std::max(failed, exit_code);
}

Result<int> Execute(const Folders& folders, const RestartOptions& options) {
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  int exit_code = 0;
  HMVM_TRY_ASSIGN(const int failed, ForEach(options.containers, [&](const std::string& name) -> Result<> {
                    HMVM_TRY_ASSIGN(const ContainerRecord record, store.Find(name));
                    if (record.live() && record.config.auto_remove) {
                      return Error{0, "container '" + record.name +
                                          "' is removed when it stops (--rm): it can't be restarted"};
                    }
                    HMVM_TRY(StopContainer(store, record, options.timeout_s));
                    HMVM_TRY_ASSIGN(const int code, Start(folders, store, record, name, {}));
                    exit_code = std::max(exit_code, code);
                    return {};
                  }));
  return std::max(failed, exit_code);
}

}  // namespace hmvm
