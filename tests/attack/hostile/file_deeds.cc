// Files, and the ring that the VMM has for its disk.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/socket.h>

#include "tests/attack/hostile/attack_list.h"
#include "tests/attack/hostile/deeds.h"

namespace hmvm::test {
namespace {

// A file that could be opened must have something in it: an empty root may have the name.
std::string Read(long fd) {
  if (fd < 0) return Errno(errno);
  char byte;
  return ::read(static_cast<int>(fd), &byte, 1) == 1 ? "" : "nothing to read";
}

std::string Ring(const HostileTargets& targets, const std::function<void(io_uring_sqe*)>& prepare) {
  if (targets.ring == nullptr) return "it has no ring";
  io_uring_sqe* const entry = ::io_uring_get_sqe(targets.ring);
  if (entry == nullptr) return "its ring is full";
  prepare(entry);
  if (const int error = ::io_uring_submit(targets.ring); error < 0) return Errno(-error);
  io_uring_cqe* completion = nullptr;
  if (const int error = ::io_uring_wait_cqe(targets.ring, &completion); error < 0) return Errno(-error);
  const int result = completion->res;
  ::io_uring_cqe_seen(targets.ring, completion);
  return result < 0 ? Errno(-result) : "";
}

// Half a TiB, of space and not of holes.
std::string FillDisk(Traitor traitor) {
  constexpr off_t kFar = off_t{512} << 30;
  if (traitor == Traitor::kDevice) return Call(SYS_fallocate, kWritableDisk, FALLOC_FL_KEEP_SIZE, 0, kFar);
  return Call(SYS_pwrite64, kWritableDisk, "x", 1, kFar);
}

std::string OpenByHandle() {
  struct {
    unsigned bytes = 8;
    int type = 1;  // FILEID_INO32_GEN
    uint32_t inode = 2;
    uint32_t generation = 0;
  } handle;
  return Call(SYS_open_by_handle_at, kReadOnlyDisk, &handle, O_RDONLY);
}

std::string OpenTwo() {
  open_how how = {};
  how.flags = O_RDONLY;
  return Read(::syscall(SYS_openat2, AT_FDCWD, kShadow, &how, sizeof(how)));
}

std::string OpenReadOnlyAnew() {
  const std::string path = "/proc/self/fd/" + std::to_string(kReadOnlyDisk);
  return Call(SYS_openat, AT_FDCWD, path.c_str(), O_RDWR);
}

}  // namespace

const Deeds& FileDeeds() {
  using T = const HostileTargets&;
  const auto open = [](T) { return Read(::syscall(SYS_openat, AT_FDCWD, kShadow, O_RDONLY)); };
  static const Deeds deeds = {
      {"openat", open},
      {"open", [](T) { return Read(::syscall(SYS_open, kShadow, O_RDONLY)); }},
      {"openat2", [](T) { return OpenTwo(); }},
      {"openat-device", open},
      {"openat-control", open},
      {"creat", [](T) { return Call(SYS_creat, "/x", 0600); }},
      {"open-by-handle", [](T) { return OpenByHandle(); }},
      {"uring-openat",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) { ::io_uring_prep_openat(e, AT_FDCWD, kShadow, O_RDONLY, 0); });
       }},
      {"uring-socket",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) {
           ::io_uring_prep_rw(IORING_OP_SOCKET, e, AF_INET, nullptr, 0, SOCK_STREAM);
         });
       }},
      {"uring-connect",
       [](T t) {
         return Ring(t, [&](io_uring_sqe* e) {
           static sockaddr_in address;
           address = Loopback(t);
           ::io_uring_prep_connect(e, kAgent, reinterpret_cast<sockaddr*>(&address), sizeof(address));
         });
       }},
      {"uring-unlink",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) { ::io_uring_prep_unlinkat(e, AT_FDCWD, kShadow, 0); });
       }},
      {"uring-write",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) {
           static iovec byte = {const_cast<char*>("x"), 1};
           ::io_uring_prep_writev(e, kControl, &byte, 1, 0);
         });
       }},
      {"uring-command",
       [](T t) {
         return Ring(t, [](io_uring_sqe* e) {
           ::io_uring_prep_rw(IORING_OP_URING_CMD, e, kReadOnlyDisk, nullptr, 0, 0);
         });
       }},
      {"uring-register",
       [](T t) {
         const int fd = t.ring == nullptr ? -1 : t.ring->ring_fd;
         return Call(SYS_io_uring_register, fd, IORING_REGISTER_RESTRICTIONS, nullptr, 0);
       }},
      {"uring-setup",
       [](T) {
         io_uring_params parameters = {};
         return Call(SYS_io_uring_setup, 4, &parameters);
       }},
      {"proc-self-fd", [](T) { return OpenReadOnlyAnew(); }},
      {"write-read-only", [](T) { return Call(SYS_write, kReadOnlyDisk, "x", 1); }},
      {"read-disk", [](T) { return Call(SYS_pread64, kReadOnlyDisk, AnonymousPage(), 1, 0); }},
      {"truncate-read-only", [](T) { return Call(SYS_ftruncate, kReadOnlyDisk, 0); }},
      {"fallocate-read-only",
       [](T) {
         return Call(SYS_fallocate, kReadOnlyDisk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
       }},
      {"mmap-read-only", [](T) { return MapPage(PROT_READ | PROT_WRITE, MAP_SHARED, kReadOnlyDisk); }},
      {"fill-disk", [](T) { return FillDisk(Traitor::kDevice); }},
      {"fill-disk-control", [](T) { return FillDisk(Traitor::kControl); }},
      {"unlink", [](T) { return Call(SYS_unlinkat, AT_FDCWD, kShadow, 0); }},
      {"fchmod", [](T) { return Call(SYS_fchmod, kReadOnlyDisk, 0777); }},
      {"fsetxattr", [](T) { return Call(SYS_fsetxattr, kReadOnlyDisk, "user.x", "x", 1, 0); }},
      {"fcntl-flags", [](T) { return Call(SYS_fcntl, kControl, F_SETFD, 0); }},
      {"flock", [](T) { return Call(SYS_flock, kReadOnlyDisk, LOCK_EX | LOCK_NB); }},
  };
  return deeds;
}

}  // namespace hmvm::test
