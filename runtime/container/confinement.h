// How a container's processes are held inside their guest: docker's options, and what they come to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "security/container/capability_options.h"

namespace hmvm {

struct Confinement {
  bool privileged = false;
  uint64_t capabilities = DefaultCapabilities();
  std::string seccomp = "unconfined";  // by name: default, strict, unconfined or the file of a profile
  std::string seccomp_filter = {};     // what that came to: struct sock_filter by struct sock_filter
  bool no_new_privileges = false;
  bool open_system_paths = false;         // nothing of /proc and /sys is hidden or made read-only
  std::vector<std::string> devices = {};  // of the guest, beyond the usual ones: "/dev/fuse"

  bool operator==(const Confinement&) const = default;
};

struct ConfinementWishes {
  bool privileged = false;
  std::vector<std::string> cap_add = {};
  std::vector<std::string> cap_drop = {};
  std::vector<std::string> security_opts = {};  // "seccomp=FILE", "no-new-privileges", ...
};

// `wishes` over `defaults`, whose filter is not looked at. `seccomp` of the defaults may name a file, too. An
// error names the option; what is passed over in a profile of system calls is added to `warnings`.
Result<Confinement> Confine(const ConfinementWishes& wishes, Confinement defaults,
                            std::vector<std::string>& warnings);

// What `exec --privileged` gives: all capabilities, and no filter.
void Unconfine(Confinement& confinement);

}  // namespace hmvm
