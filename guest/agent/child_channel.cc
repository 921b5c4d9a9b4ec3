#include "guest/agent/child_channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace hmvm::agent {
namespace {

constexpr size_t kMessageBytes = 4096;

// SAFETY of the casts below: cmsg(3) is made of them; the buffers are aligned for cmsghdr.
union Control {
  cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int))];
};

}  // namespace

Result<SocketPair> MakeChildChannel() { return MakeSocketPair(SOCK_SEQPACKET); }

void SendError(int channel, const Error& error) {
  std::string message(sizeof(error.code), '\0');
  std::memcpy(message.data(), &error.code, sizeof(error.code));
  message += error.what.substr(0, kMessageBytes - message.size());
  (void)!::send(channel, message.data(), message.size(), MSG_NOSIGNAL);  // the child ends next in any case
}

Result<> SendDescriptor(int channel, int descriptor) {
  int code = 0;
  iovec part = {.iov_base = &code, .iov_len = sizeof(code)};
  Control control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  if (::sendmsg(channel, &message, MSG_NOSIGNAL) < 0) return Error{errno, "pass a descriptor to the agent"};
  return {};
}

Result<std::optional<ChildMessage>> ReceiveFromChild(int channel) {
  std::array<char, kMessageBytes> text;
  iovec part = {.iov_base = text.data(), .iov_len = text.size()};
  Control control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  ssize_t got = 0;
  do {
    got = ::recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Error{errno, "read a child's report"};
  ChildMessage received;
  if (static_cast<size_t>(got) < sizeof(received.error->code)) return std::optional<ChildMessage>();
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(header), sizeof(descriptor));
    received.descriptor = UniqueFd(descriptor);
  } else {
    Error error;
    std::memcpy(&error.code, text.data(), sizeof(error.code));
    error.what.assign(text.data() + sizeof(error.code), static_cast<size_t>(got) - sizeof(error.code));
    received.error = std::move(error);
  }
  return std::optional<ChildMessage>(std::move(received));
}

}  // namespace hmvm::agent
