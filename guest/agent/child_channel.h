// What a child process of the agent tells it before it executes a program or ends: a descriptor, an error.
// The end of the channel (close-on-exec) without an error means that all went well.
#pragma once

#include <optional>

#include "base/file.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

struct ChildMessage {
  UniqueFd descriptor;         // when one was sent
  std::optional<Error> error;  // else
};

// {agent's end, child's end}.
Result<SocketPair> MakeChildChannel();

// The child's side.
void SendError(int channel, const Error& error);
Result<> SendDescriptor(int channel, int descriptor);

// The agent's side: the next message, blocking if the channel does; nothing at the end of the channel.
Result<std::optional<ChildMessage>> ReceiveFromChild(int channel);

}  // namespace hmvm::agent
