#include "vmm/virtio/vsock_listener.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/file.h"

namespace hmvm {
namespace {

constexpr size_t kMaxCallers = 256;
constexpr size_t kMaxLineBytes = 32;  // "CONNECT 4294967295\n" and some air

std::optional<uint32_t> ParseConnect(std::string_view line) {
  constexpr std::string_view kVerb = "CONNECT ";
  if (!line.starts_with(kVerb)) return std::nullopt;
  line.remove_prefix(kVerb.size());
  if (line.ends_with('\r')) line.remove_suffix(1);
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), port);
  if (error != std::errc() || end != line.data() + line.size()) return std::nullopt;
  return port;
}

}  // namespace

Result<std::unique_ptr<VsockListener>> VsockListener::Create(UniqueFd socket, EventLoop& loop,
                                                             OnConnect on_connect) {
  HMVM_TRY(SetNonBlocking(socket.get(), true));
  std::unique_ptr<VsockListener> listener(new VsockListener(std::move(socket), loop, std::move(on_connect)));
  // Edge-triggered: without descriptors to accept with, a level would spin.
  HMVM_TRY_ASSIGN(listener->watch_, loop.OnEvents(listener->socket_.get(), EPOLLIN | EPOLLET,
                                                  [listener = listener.get()](uint32_t) -> Result<> {
                                                    listener->Accept();
                                                    return {};
                                                  }));
  return listener;
}

void VsockListener::Accept() {
  for (;;) {
    UniqueFd fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    starved_ = !fd.valid() && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS);
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return;
    }
    if (callers_.size() == kMaxCallers) continue;  // closed again
    auto caller = std::make_unique<Caller>();
    auto watch =
        loop_.OnEvents(fd.get(), EPOLLIN | EPOLLET, [this, caller = caller.get()](uint32_t) -> Result<> {
          OnReadable(caller);
          return {};
        });
    if (!watch.has_value()) continue;
    caller->fd = std::move(fd);
    caller->watch = std::move(*watch);
    callers_.push_back(std::move(caller));
  }
}

void VsockListener::OnReadable(Caller* caller) {
  std::array<char, kMaxLineBytes> bytes;
  // Looked at, not taken, until it is known where the line ends.
  const ssize_t peeked = ::recv(caller->fd.get(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (peeked < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const std::string_view text(bytes.data(), static_cast<size_t>(std::max<ssize_t>(peeked, 0)));
  const size_t line_bytes = text.find('\n');
  if (line_bytes == std::string_view::npos && peeked > 0 && text.size() < bytes.size())
    return;  // more will come
  const auto port =
      line_bytes == std::string_view::npos ? std::nullopt : ParseConnect(text.substr(0, line_bytes));
  UniqueFd fd = Release(caller);
  if (port &&
      ::recv(fd.get(), bytes.data(), line_bytes + 1, MSG_DONTWAIT) == static_cast<ssize_t>(line_bytes + 1)) {
    on_connect_(*port, std::move(fd));
  }
  fd.reset();
  Retry();  // refused, here or by who was called, it has made room
}

UniqueFd VsockListener::Release(Caller* caller) {
  const auto found = std::ranges::find(callers_, caller, [](const auto& owned) { return owned.get(); });
  const std::unique_ptr<Caller> owned = std::move(*found);
  callers_.erase(found);
  owned->watch = Watch();
  return std::move(owned->fd);
}

}  // namespace hmvm
