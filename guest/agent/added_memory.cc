#include "guest/agent/added_memory.h"

#include <linux/netlink.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>

#include <cstdlib>
#include <string>

#include "base/file.h"

namespace hmvm::agent {
namespace {

uint64_t TotalBytes() {
  struct sysinfo info = {};
  ::sysinfo(&info);
  return uint64_t{info.totalram} * info.mem_unit;
}

// What the kernel tells of its devices: of each block of memory, among others, when it can be used.
Result<UniqueFd> ListenToDevices() {
  UniqueFd socket(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;
  // SAFETY: sockaddr is how the socket API spells any address.
  if (!socket.valid() ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    return Error{errno, "listen to the kernel's device events"};
  }
  return socket;
}

}  // namespace

AddedMemory::AddedMemory(EventLoop& loop) : loop_(loop), booted_bytes_(TotalBytes()) {}

Result<> AddedMemory::Await(uint64_t bytes, std::function<void(Result<>)> done) {
  if (done_) return Error{EBUSY, "memory is awaited"};
  wanted_bytes_ = booted_bytes_ + bytes;
  done_ = std::move(done);
  if (bytes != 0) {
    HMVM_TRY_ASSIGN(events_, ListenToDevices());
    HMVM_TRY_ASSIGN(watch_, loop_.OnReadable(events_.get(), [this] { return OnEvent(); }));
  }
  return OnEvent();
}

// What an event says does not matter: the look at the total comes after it. One that was lost was followed by
// another, or by this look.
Result<> AddedMemory::OnEvent() {
  char event[4096];
  while (events_.valid() && (::recv(events_.get(), event, sizeof(event), 0) >= 0 || errno == ENOBUFS)) {
  }
  if (!done_ || TotalBytes() < wanted_bytes_) return {};
  watch_ = Watch();
  events_.reset();
  const auto done = std::exchange(done_, nullptr);
  done(wanted_bytes_ == booted_bytes_ ? Result<>() : RaiseLimits());
  return {};
}

// As a boot with so much memory would have set them.
Result<> AddedMemory::RaiseLimits() const {
  const auto grown = [this](uint64_t limit) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(limit) * TotalBytes() / booted_bytes_);
  };
  HMVM_TRY_ASSIGN(const std::string threads, ReadFile("/proc/sys/kernel/threads-max"));
  HMVM_TRY_ASSIGN(const UniqueFd threads_max, OpenFile("/proc/sys/kernel/threads-max", O_WRONLY));
  HMVM_TRY(WriteAll(threads_max.get(), std::to_string(grown(std::strtoull(threads.c_str(), nullptr, 10)))));
  for (const auto resource : {RLIMIT_NPROC, RLIMIT_SIGPENDING}) {
    rlimit limit = {};
    ::getrlimit(resource, &limit);
    limit.rlim_cur = limit.rlim_max = grown(limit.rlim_max);
    if (::setrlimit(resource, &limit) < 0) return Error{errno, "raise the limit of processes"};
  }
  return {};
}

}  // namespace hmvm::agent
