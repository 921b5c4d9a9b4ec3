#include "base/fd_channel.h"

#include <sys/socket.h>

#include <cstring>

namespace hmvm {

Result<> SendFds(int socket, std::span<const int> fds) {
  if (fds.empty() || fds.size() > kMaxSentFds) return Error{EINVAL, "number of descriptors to send"};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxSentFds * sizeof(int))] = {};
  char byte = 0;  // a message without data would read as the end
  iovec data = {&byte, sizeof(byte)};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  ssize_t sent;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Error{errno, "send descriptors"};
  return {};
}

Result<std::vector<UniqueFd>> ReceiveFds(int socket) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxSentFds * sizeof(int))];
  char byte;
  iovec data = {&byte, sizeof(byte)};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received;
  do {
    received = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return Error{errno, "receive descriptors"};
  // Owned before anything is judged: what came is closed on every way out.
  std::vector<UniqueFd> fds;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd));
      fds.emplace_back(fd);
    }
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0) return Error{EPROTO, "more descriptors than a message may have"};
  if (received == 0 && fds.empty()) return Error{EPIPE, "receive descriptors"};
  if (fds.empty()) return Error{EPROTO, "message without descriptors"};
  return fds;
}

}  // namespace hmvm
