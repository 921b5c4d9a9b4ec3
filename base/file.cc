#include "base/file.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <charconv>

namespace hmvm {
namespace {

std::string Quoted(const std::string& verb, const std::string& path) { return verb + " '" + path + "'"; }

}  // namespace

Result<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.valid()) return Error{errno, Quoted("open", path)};
  return fd;
}

Result<UniqueFd> OpenArgument(const std::string& argument, int flags) {
  constexpr std::string_view kPrefix = "fd:";
  if (!argument.starts_with(kPrefix)) return OpenFile(argument, flags);
  const char* begin = argument.data() + kPrefix.size();
  const char* end = argument.data() + argument.size();
  int number = -1;
  const auto [rest, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || rest != end || number < 0)
    return Error{EINVAL, "descriptor '" + argument + "'"};
  if (::fcntl(number, F_SETFD, FD_CLOEXEC) < 0)
    return Error{errno, "inherited descriptor '" + argument + "'"};
  return UniqueFd(number);
}

Result<UniqueFd> Duplicate(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return Error{errno, "duplicate descriptor " + std::to_string(fd)};
  return copy;
}

Result<uint64_t> FileSize(int fd, const std::string& name) {
  struct stat status = {};
  if (::fstat(fd, &status) < 0) return Error{errno, Quoted("stat", name)};
  return static_cast<uint64_t>(status.st_size);
}

Result<std::string> ReadFile(const std::string& path, size_t limit_bytes) {
  HMVM_TRY_ASSIGN(UniqueFd fd, OpenFile(path, O_RDONLY));
  std::string content;
  char chunk[16384];
  for (;;) {
    auto got = ReadFull(fd.get(), std::as_writable_bytes(std::span(chunk)));
    if (!got.has_value()) return Error{got.error().code, Quoted("read", path)};
    content.append(chunk, *got);
    if (content.size() > limit_bytes) return Error{EFBIG, Quoted("read", path)};
    if (*got < sizeof(chunk)) return content;
  }
}

Result<size_t> ReadFull(int fd, std::span<std::byte> buffer) {
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t got = ::read(fd, buffer.data() + done, buffer.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{errno, "read"};
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

Result<> WriteAll(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Error{errno, "write"};
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Result<> WriteAll(int fd, std::string_view text) { return WriteAll(fd, std::as_bytes(std::span(text))); }

Result<> WriteFileAtomic(const std::string& path, std::string_view content, mode_t mode, Outlives outlives) {
  std::string temporary = path + ".XXXXXX";
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return Error{errno, Quoted("create", temporary)};
  auto written = WriteAll(fd.get(), content);
  const bool sync = outlives == Outlives::kCrashOfHost;
  if (!written.has_value() || ::fchmod(fd.get(), mode) < 0 || (sync && ::fsync(fd.get()) < 0) ||
      ::rename(temporary.c_str(), path.c_str()) < 0) {
    Error error{written.has_value() ? errno : written.error().code, Quoted("write", path)};
    ::unlink(temporary.c_str());
    return error;
  }
  return {};
}

Result<> SetNonBlocking(int fd, bool non_blocking) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, non_blocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0) {
    return Error{errno, "set blocking mode of descriptor " + std::to_string(fd)};
  }
  return {};
}

Result<SocketPair> MakeSocketPair(int type) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0) return Error{errno, "socketpair"};
  return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return Error{errno, "pipe"};
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace hmvm
