#include "runtime/cli/options/confinement.h"

#include "runtime/cli/options/shared.h"
#include "runtime/container/confinement.h"

namespace hmvm {

void AddConfinement(Arguments& arguments, ConfinementWishes& confinement, std::string& security_profile) {
  arguments.List("--cap-add", confinement.cap_add, "Add a capability: NET_ADMIN, or ALL");
  arguments.List("--cap-drop", confinement.cap_drop, "Take a capability away, or ALL");
  arguments.Flag("--privileged", confinement.privileged,
                 "All capabilities, system calls, devices and paths, inside its own guest");
  arguments.List("--security-opt", confinement.security_opts,
                 "seccomp=FILE|unconfined, no-new-privileges, systempaths=unconfined");
  arguments.Option("--security-profile", security_profile,
                   "default, strict or a file; see `hmvm profile --help`");
}

}  // namespace hmvm
