#include "security/fd_class.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <string>

namespace hmvm {

Result<UniqueFd> Place(const FdClass& to, UniqueFd fd) {
  if (!fd.valid()) return fd;
  UniqueFd placed(::fcntl(fd.get(), F_DUPFD_CLOEXEC, to.first));
  if (!placed.valid() && errno == EINVAL) return fd;
  if (!placed.valid() || !to.Has(placed.get())) {
    return Error{EMFILE, "more than " + std::to_string(to.count) + " descriptors of " + std::string(to.name)};
  }
  return placed;
}

void AllowAllClasses() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, fd_class::kEnd);
  limit.rlim_max = std::max(limit.rlim_max, limit.rlim_cur);
  if (::setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
  // Only root may raise the upper one.
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<> AllowArrivingOnly() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return Error{errno, "getrlimit"};
  limit.rlim_max = std::min<rlim_t>(limit.rlim_max, fd_class::kArriving.count);
  limit.rlim_cur = std::min(limit.rlim_cur, limit.rlim_max);
  if (::setrlimit(RLIMIT_NOFILE, &limit) < 0) return Error{errno, "limit the descriptors that may come"};
  return {};
}

}  // namespace hmvm
