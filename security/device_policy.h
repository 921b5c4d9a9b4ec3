// Which devices the processes of a cgroup of version 2 may open, where version 1 has its controller
// "devices".
#pragma once

#include "base/result.h"

namespace hmvm {

// None but /dev/null, from now on and for as long as the cgroup is there. EPERM, EINVAL, ENOSYS: the kernel
// or this user's rights do not allow it.
Result<> AllowNullDeviceOnly(int cgroup_directory);

}  // namespace hmvm
