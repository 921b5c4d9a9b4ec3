// Sockets and streams between the CLI, a supervisor and the guest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// Listening and connected AF_UNIX stream sockets at `folder`/`name`. The path may be longer than the 107
// bytes that an address holds.
Result<UniqueFd> ListenUnix(const std::string& folder, const std::string& name);
Result<UniqueFd> ConnectUnix(const std::string& folder, const std::string& name);

// A stdio stream as of guest/api/agent.proto: connects to the agent through vsock.sock in `run_folder` and
// says which stream this is.
Result<UniqueFd> ConnectStream(const std::string& run_folder, uint64_t stream_id);

// A random id, never 0 (which means no stream).
uint64_t NewStreamId();

// send(2) of all bytes without SIGPIPE; false when the other end is gone.
bool SendAll(int socket, std::string_view bytes);

}  // namespace hmvm
