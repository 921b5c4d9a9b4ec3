// What the deeds of hmvm-vmm-hostile have in common, and the rooms they are in.
#pragma once

#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "security/fd_class.h"
#include "tests/attack/hostile/attacks.h"

namespace hmvm::test {

// Returns what Attack() does.
using Deed = std::function<std::string(const HostileTargets&)>;
using Deeds = std::map<std::string_view, Deed>;

const Deeds& FileDeeds();
const Deeds& ProcessDeeds();
const Deeds& NetworkDeeds();
const Deeds& MemoryDeeds();
const Deeds& MachineDeeds();
const Deeds& PrivilegeDeeds();
const Deeds& FloodDeeds();

// Where the VMM has its descriptors.
inline constexpr int kControl = fd_class::kControl.first;
inline constexpr int kAgent = fd_class::kAgent.first;
inline constexpr int kFiles = fd_class::kFiles.first;
inline constexpr int kListener = fd_class::kListener.first;
inline constexpr int kReadOnlyDisk = fd_class::kDisks.first;
inline constexpr int kWritableDisk = kReadOnlyDisk + 1;
inline constexpr int kKvm = fd_class::kKvm.first;
inline constexpr int kVm = fd_class::kVm.first;
inline constexpr int kVcpu = fd_class::kVcpus.first;

inline constexpr char kShadow[] = "/etc/shadow";
inline constexpr size_t kPage = 4096;

inline std::string Errno(int code) {
  const char* const name = ::strerrorname_np(code);
  return name == nullptr ? std::to_string(code) : name;
}

// Of a system call that has done its harm if it did not fail.
inline std::string Stopped(long result) { return result < 0 ? Errno(errno) : ""; }

template <typename... Arguments>
std::string Call(long number, Arguments... arguments) {
  return Stopped(::syscall(number, arguments...));
}

inline sockaddr_in Loopback(const HostileTargets& targets) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(targets.tcp_port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

inline void* AnonymousPage() {
  return ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

inline std::string MapPage(int protection, int flags, int fd) {
  void* const at = ::mmap(nullptr, kPage, protection, flags, fd, 0);
  return at == MAP_FAILED ? Errno(errno) : "";
}

}  // namespace hmvm::test
