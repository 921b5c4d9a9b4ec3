#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

// What tells one guest, and the containers in it, from another.
struct Identity {
  std::string hostname;    // at most 64 bytes
  std::string machine_id;  // 32 hex digits
};

// The files below a container's directory that are mounted over those of its image: /etc/NAME each.
constexpr const char* kIdentityFiles[] = {"hostname", "hosts", "machine-id"};

// Writes them, in place where they are there: a container that has them mounted sees the new content.
Result<> WriteIdentityFiles(const std::string& directory, const Identity& identity);

// Sets the calling process's host name; in the namespace `uts`, if that is valid.
Result<> SetHostname(const std::string& hostname, const UniqueFd& uts);

bool IsMachineId(const std::string& text);

}  // namespace hmvm::agent
