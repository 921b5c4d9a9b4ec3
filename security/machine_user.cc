#include "security/machine_user.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "base/file.h"
#include "base/folder.h"

namespace hmvm {
namespace {

// None: somebody has it. `create` is O_CREAT, or 0 for a file that must be there.
Result<std::optional<UniqueFd>> TryLock(const std::string& path, int create) {
  for (;;) {
    HMVM_TRY_ASSIGN(UniqueFd file, OpenFile(path, O_RDONLY | O_NOFOLLOW | create, 0600));
    if (::flock(file.get(), LOCK_EX | LOCK_NB) < 0) {
      if (errno == EWOULDBLOCK) return std::nullopt;
      return Error{errno, "lock '" + path + "'"};
    }
    struct stat status;
    if (::fstat(file.get(), &status) < 0) return Error{errno, "stat '" + path + "'"};
    // Between our open and our lock its last owner may have removed it: then the next one locks another file.
    if (status.st_nlink > 0) return std::optional(std::move(file));
  }
}

}  // namespace

Result<MachineUser> MachineUser::Take(const std::string& locks) {
  if (::mkdir(locks.c_str(), 0700) < 0 && errno != EEXIST) return Error{errno, "create '" + locks + "'"};
  // From the process's own number on, so that a thousand machines are not a thousand tries.
  const uid_t start = static_cast<uid_t>(::getpid()) % kMachineUsers;
  for (uid_t step = 0; step < kMachineUsers; ++step) {
    const uid_t id = kFirstMachineUser + (start + step) % kMachineUsers;
    std::string path = locks + "/" + std::to_string(id);
    HMVM_TRY_ASSIGN(std::optional<UniqueFd> lock, TryLock(path, O_CREAT));
    if (lock.has_value()) return MachineUser(id, std::move(path), std::move(*lock));
  }
  return Error{EUSERS, "all " + std::to_string(kMachineUsers) + " user ids of machines are taken"};
}

MachineUser& MachineUser::operator=(MachineUser&& other) noexcept {
  MachineUser taken(std::move(other));
  std::swap(id_, taken.id_);
  std::swap(path_, taken.path_);
  std::swap(lock_, taken.lock_);
  return *this;
}

void MachineUser::Sweep(const std::string& locks) {
  const auto names = NamesIn(locks);
  if (!names.has_value()) return;
  for (const std::string& name : *names) {
    const std::string path = locks + "/" + name;
    // Only who has the lock removes a file, so the name is still that of the one locked here.
    const auto lock = TryLock(path, 0);
    if (lock.has_value() && lock->has_value()) ::unlink(path.c_str());
  }
}

// Removed while it is locked. What a crash leaves is an empty file that nobody holds; Sweep() finds it.
MachineUser::~MachineUser() {
  if (lock_.valid()) ::unlink(path_.c_str());
}

}  // namespace hmvm
