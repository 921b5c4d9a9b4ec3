// Sockets, and those that the VMM has.
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>

#include "base/ttrpc/frame.h"
#include "tests/attack/hostile/deeds.h"

namespace hmvm::test {
namespace {

template <typename Address>
std::string Connect(int family, int type, int protocol, const Address& address) {
  const long fd = ::syscall(SYS_socket, family, type, protocol);
  if (fd < 0) return Errno(errno);
  return Call(SYS_connect, fd, &address, sizeof(address));
}

std::string ConnectTcp(const HostileTargets& targets) {
  return Connect(AF_INET, SOCK_STREAM, 0, Loopback(targets));
}

std::string SendUdp(const HostileTargets& targets) {
  const long fd = ::syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return Errno(errno);
  const sockaddr_in address = Loopback(targets);
  return Call(SYS_sendto, fd, "x", 1, 0, &address, sizeof(address));
}

std::string ConnectUnix(const std::string& name, bool abstract) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + (abstract ? 1 : 0), sizeof(address.sun_path) - 2);
  const long fd = ::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return Errno(errno);
  const size_t length = offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 1 : 0);
  return Call(SYS_connect, fd, &address, length);
}

std::string ConnectVsock() {
  sockaddr_vm address = {};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_LOCAL;
  address.svm_port = 77;
  return Connect(AF_VSOCK, SOCK_STREAM, 0, address);
}

std::string MakeNetworkDevice() {
  const long fd = ::syscall(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  if (fd < 0) return Errno(errno);
  struct {
    nlmsghdr header;
    ifinfomsg link;
    rtattr name;
    char text[8];
  } request = {};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_NEWLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
  request.name = {.rta_len = sizeof(rtattr) + sizeof(request.text), .rta_type = IFLA_IFNAME};
  std::strcpy(request.text, "evil0");
  if (::write(static_cast<int>(fd), &request, sizeof(request)) < 0) return Errno(errno);
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char rest[256];
  } answer = {};
  if (::read(static_cast<int>(fd), &answer, sizeof(answer)) < 0) return Errno(errno);
  return answer.error.error < 0 ? Errno(-answer.error.error) : "";
}

std::string Listen() {
  const long fd = ::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return Errno(errno);
  const sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(4711), .sin_addr = {}, .sin_zero = {}};
  if (const std::string why = Call(SYS_bind, fd, &any, sizeof(any)); !why.empty()) return why;
  return Call(SYS_listen, fd, 1);
}

// Along with a frame of no type that ttrpc knows, so that who reads it goes on as if nothing had been.
std::string SendDescriptor(int socket) {
  std::array<char, kTtrpcHeaderBytes> frame = {};
  iovec vector = {frame.data(), frame.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> room = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = room.data();
  message.msg_controllen = room.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &kVm, sizeof(int));
  return Call(SYS_sendmsg, socket, &message, MSG_NOSIGNAL);
}

}  // namespace

const Deeds& NetworkDeeds() {
  using T = const HostileTargets&;
  static const Deeds deeds = {
      {"tcp", ConnectTcp},
      {"udp", SendUdp},
      {"raw", [](T) { return Call(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP); }},
      {"packet", [](T) { return Call(SYS_socket, AF_PACKET, SOCK_RAW, 0); }},
      {"unix", [](T t) { return ConnectUnix(t.unix_path, false); }},
      {"abstract", [](T t) { return ConnectUnix(t.abstract_name, true); }},
      {"vsock", [](T) { return ConnectVsock(); }},
      {"netlink", [](T) { return MakeNetworkDevice(); }},
      {"socket-device", ConnectTcp},
      {"listen", [](T) { return Listen(); }},
      {"send-descriptor-agent", [](T) { return SendDescriptor(kAgent); }},
      {"send-descriptor-control", [](T) { return SendDescriptor(kControl); }},
      {"send-descriptor-files", [](T) { return SendDescriptor(kFiles); }},
      {"send-descriptor-listener", [](T) { return SendDescriptor(kListener); }},
      {"sendto-agent", [](T) { return Call(SYS_sendto, kAgent, "x", 1, MSG_NOSIGNAL, nullptr, 0); }},
      {"accept-control", [](T) { return Call(SYS_accept4, kControl, nullptr, nullptr, 0); }},
      {"sendto-address",
       [](T t) {
         const sockaddr_in address = Loopback(t);
         return Call(SYS_sendto, kControl, "x", 1, MSG_NOSIGNAL, &address, sizeof(address));
       }},
  };
  return deeds;
}

}  // namespace hmvm::test
