#pragma once

#include "base/result.h"
#include "images/image.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/installation.h"
#include "runtime/container/record.h"

namespace hmvm {

// A container as it was asked for, with all that it needs to run. Not in the store yet.
struct NewContainer {
  Installation installation;
  Image image;
  ContainerRecord record;  // nobody owns it
};

// All that can be told to be wrong without making anything is told here.
Result<NewContainer> PrepareContainer(const Folders& folders, const RunOptions& options);

}  // namespace hmvm
