#pragma once

#include <string>

#include "base/result.h"

namespace hmvm {

// Where our other files are: relative to this program, in an installation as in a build tree.
struct Installation {
  std::string vmm_program;
  std::string import_program;  // what `hmvm image import` becomes
  std::string snapshot_program;
  std::string kernel;
  std::string initramfs;

  static Result<Installation> Find();
};

}  // namespace hmvm
