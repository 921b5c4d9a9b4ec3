// `hmvm run`: create and start in one.
#include <unistd.h>

#include "runtime/cli/create.h"
#include "runtime/cli/launch.h"

namespace hmvm {

Result<int> Execute(const Folders& folders, const RunOptions& options) {
  if (!options.detach) HMVM_TRY(CheckTerminal(options.interactive, options.terminal));
  HMVM_TRY_ASSIGN(NewContainer made, PrepareContainer(folders, options));
  HMVM_TRY_ASSIGN(MachineFiles files, OpenMachineFiles(made.record.config, made.installation, made.image));
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  AddTemplate(folders, made.record.config, made.installation, files);
  HMVM_TRY_ASSIGN(Launch launch, Launch::Prepare({.input = options.interactive && !options.detach,
                                                  .output = !options.detach},
                                                 options.terminal));
  made.record.owner = *IdentifyProcess(::getpid());
  HMVM_TRY(store.Add(made.record));
  auto launched = std::move(launch).Go(store, made.record, std::move(files), made.record.id);
  // Only fork(2) can have failed.
  if (!launched.has_value()) (void)store.Remove(made.record.id);
  return launched;
}

}  // namespace hmvm
