#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// Where the user ids of machines begin, and how many there are. Above all that login.defs and systemd give to
// people, services and containers (the last ends at 0x6fffffff), below what does not fit into a signed int.
inline constexpr uid_t kFirstMachineUser = 2'000'000'000;
inline constexpr uid_t kMachineUsers = 65'536;

inline constexpr char kMachineUserLocks[] = "/run/hmvm-uids";

// A user (and group) id that no other machine of this host has. It is taken by a lock on a file of its
// number, in one place for all of hmvm, whatever its other folders are. Whoever holds the lock's descriptor
// keeps the id: supervisor and VMM both do, so that it is free when both are gone, however they ended.
class MachineUser {
 public:
  MachineUser() = default;
  MachineUser(MachineUser&&) noexcept = default;
  MachineUser& operator=(MachineUser&& other) noexcept;
  ~MachineUser();

  // EUSERS: all are taken.
  static Result<MachineUser> Take(const std::string& locks = kMachineUserLocks);

  // Removes the files of ids that nobody holds: what a killed supervisor left. Who may not look there leaves
  // it as it is.
  static void Sweep(const std::string& locks = kMachineUserLocks);

  uid_t id() const { return id_; }
  int lock() const { return lock_.get(); }  // opened for reading only: nothing can be done with it

 private:
  MachineUser(uid_t id, std::string path, UniqueFd lock)
      : id_(id), path_(std::move(path)), lock_(std::move(lock)) {}

  uid_t id_ = 0;
  std::string path_;
  UniqueFd lock_;
};

}  // namespace hmvm
