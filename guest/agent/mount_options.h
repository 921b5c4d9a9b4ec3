#pragma once

#include <string>
#include <vector>

namespace hmvm::agent {

// Options of a mount as mount(8) and the OCI runtime specification name them, sorted by who understands them.
struct MountOptions {
  unsigned long flags = 0;        // MS_*; MS_BIND (and MS_REC) for bind and rbind
  unsigned long propagation = 0;  // MS_PRIVATE, MS_SLAVE, ..., perhaps with MS_REC; 0: as it is
  std::string data;               // the rest, for the file system
};

MountOptions ParseMountOptions(const std::vector<std::string>& options);

}  // namespace hmvm::agent
