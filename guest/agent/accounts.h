// Users and groups as the container's own /etc/passwd and /etc/group name them. Both files come from the
// image: untrusted, perhaps absent (then empty), perhaps malformed. Lines that do not parse are passed over.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hmvm::agent {

struct Account {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home = "/";
  std::vector<gid_t> groups;  // for setgroups(2): the primary one first, then the supplementary ones
};

// Resolves docker's "name|uid[:group|gid]"; empty means uid 0. A uid without an entry in passwd is taken as
// it is, with gid 0. An explicit group leaves out all others. EINVAL: no such name, or an id
// outside 0..2^31-1.
Result<Account> ResolveUser(std::string_view user, std::string_view passwd, std::string_view group);

}  // namespace hmvm::agent
