#include "guest/agent/vsock.h"

#include <linux/vm_sockets.h>
#include <sys/socket.h>

#include <cerrno>

namespace hmvm::agent {
namespace {

std::string Name(const char* verb, uint32_t port) {
  return std::string(verb) + " vsock port " + std::to_string(port);
}

sockaddr_vm Address(uint32_t cid, uint32_t port) {
  sockaddr_vm address = {};
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = port;
  return address;
}

// Where a kernel that was not made for hmvm fails first: it has no vsock, or no device for it.
Error Unreachable(std::string what) {
  const int code = errno;
  if (code == EAFNOSUPPORT || code == ENODEV) {
    what += " (the guest's kernel needs virtio-mmio, virtio-blk, virtio-vsock, EROFS and overlayfs built in)";
  }
  return Error{code, what};
}

}  // namespace

Result<UniqueFd> DialHost(uint32_t port) {
  UniqueFd socket(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Unreachable("create vsock socket");
  const sockaddr_vm address = Address(VMADDR_CID_HOST, port);
  // SAFETY: the socket interface's own way to pass an address of any family.
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    return Unreachable(Name("dial the host's", port));
  }
  return socket;
}

Result<UniqueFd> ListenToHost(uint32_t port) {
  constexpr int kBacklog = 128;
  UniqueFd socket(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Unreachable("create vsock socket");
  const sockaddr_vm address = Address(VMADDR_CID_ANY, port);
  // SAFETY: as above.
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0 ||
      ::listen(socket.get(), kBacklog) < 0) {
    return Error{errno, Name("listen on", port)};
  }
  return socket;
}

}  // namespace hmvm::agent
