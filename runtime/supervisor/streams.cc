#include "runtime/supervisor/streams.h"

#include <endian.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdio>

#include "base/escape.h"
#include "base/file.h"

namespace hmvm {
namespace {

constexpr unsigned kStdioPort = 1025;

// An open folder and the socket's address through it: short whatever the folder's path.
struct Place {
  UniqueFd folder;
  sockaddr_un address = {};
};

Result<Place> FindPlace(const std::string& folder, const std::string& name) {
  Place place;
  HMVM_TRY_ASSIGN(place.folder, OpenFile(folder, O_PATH | O_DIRECTORY));
  place.address.sun_family = AF_UNIX;
  std::snprintf(place.address.sun_path, sizeof(place.address.sun_path), "/proc/self/fd/%d/%s",
                place.folder.get(), name.c_str());
  return place;
}

const sockaddr* AsSockaddr(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);  // SAFETY: how the sockets API takes every address
}

Result<UniqueFd> MakeSocket() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Error{errno, "socket"};
  return socket;
}

}  // namespace

Result<UniqueFd> ListenUnix(const std::string& folder, const std::string& name) {
  HMVM_TRY_ASSIGN(const Place place, FindPlace(folder, name));
  HMVM_TRY_ASSIGN(UniqueFd socket, MakeSocket());
  if (::bind(socket.get(), AsSockaddr(place.address), sizeof(place.address)) < 0 ||
      ::listen(socket.get(), 128) < 0) {
    return Error{errno, "listen on '" + folder + "/" + name + "'"};
  }
  return socket;
}

Result<UniqueFd> ConnectUnix(const std::string& folder, const std::string& name) {
  HMVM_TRY_ASSIGN(const Place place, FindPlace(folder, name));
  HMVM_TRY_ASSIGN(UniqueFd socket, MakeSocket());
  while (::connect(socket.get(), AsSockaddr(place.address), sizeof(place.address)) < 0) {
    if (errno != EINTR) return Error{errno, "connect to '" + folder + "/" + name + "'"};
  }
  return socket;
}

Result<UniqueFd> ConnectStream(const std::string& run_folder, uint64_t stream_id) {
  HMVM_TRY_ASSIGN(UniqueFd socket, ConnectUnix(run_folder, "vsock.sock"));
  if (!SendAll(socket.get(), "CONNECT " + std::to_string(kStdioPort) + "\n")) {
    return Error{EPIPE, "connect to the guest's stdio port"};
  }
  // Byte by byte: what follows the newline is the stream's.
  std::string answer;
  while (!answer.ends_with('\n') && answer.size() < 64) {
    char byte = 0;
    HMVM_TRY_ASSIGN(const size_t got, ReadFull(socket.get(), std::as_writable_bytes(std::span(&byte, 1))));
    if (got == 0) break;
    answer += byte;
  }
  if (!answer.starts_with("OK ") || !answer.ends_with('\n')) {
    return Error{ECONNREFUSED, "connect to the guest's stdio port, answer '" + Escape(answer) + "'"};
  }
  const uint64_t id = htole64(stream_id);
  if (!SendAll(socket.get(), std::string_view(reinterpret_cast<const char*>(&id), sizeof(id)))) {
    return Error{EPIPE, "name the stream to the guest"};
  }
  return socket;
}

uint64_t NewStreamId() {
  uint64_t id = 0;
  while (id == 0) (void)!::getrandom(&id, sizeof(id), 0);
  return id;
}

bool SendAll(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace hmvm
