#include "runtime/supervisor/stdio_pumps.h"

#include <sys/socket.h>

#include <memory>

#include "runtime/supervisor/streams.h"

namespace hmvm {
namespace {

constexpr size_t kChunkBytes = 64 << 10;

// The next bytes of a stream; empty at its end, errors included.
std::string_view Receive(int fd, char* chunk) {
  for (;;) {
    const ssize_t got = ::read(fd, chunk, kChunkBytes);
    if (got < 0 && errno == EINTR) continue;
    return {chunk, got > 0 ? static_cast<size_t>(got) : 0};
  }
}

void ShutDown(const UniqueFd& socket, int how) {
  if (socket.valid()) ::shutdown(socket.get(), how);
}

}  // namespace

StdioPumps::StdioPumps(Options options, LogWriter log, ClientStreams client)
    : options_(std::move(options)), log_(std::move(log)) {
  stdin_.client = std::move(client.in);
  stdout_.client = std::move(client.out);
  stderr_.client = std::move(client.err);
  if (options_.streams.has_value()) {
    stdin_.id = options_.streams->in;
    stdout_.id = options_.streams->out;
    stderr_.id = options_.streams->err;
    return;
  }
  if (options_.open_stdin) stdin_.id = NewStreamId();
  stdout_.id = NewStreamId();
  if (!options_.terminal) stderr_.id = NewStreamId();
}

StdioPumps::~StdioPumps() { Join(); }

void StdioPumps::Start(std::function<void(Error)> on_error) {
  on_error_ = std::move(on_error);
  if (stdin_.id != 0) stdin_.thread = std::thread([this] { PumpInput(); });
  stdout_.thread = std::thread([this] { PumpOutput(stdout_, OutputStream::kStdout); });
  if (stderr_.id != 0) stderr_.thread = std::thread([this] { PumpOutput(stderr_, OutputStream::kStderr); });
}

bool StdioPumps::Connect(Stream& stream) {
  auto connected = ConnectStream(options_.run_folder, stream.id);
  if (!connected.has_value()) {
    on_error_(connected.error());
    return false;
  }
  stream.guest = std::move(connected).value();
  return true;
}

void StdioPumps::PumpInput() {
  if (!Connect(stdin_) || !stdin_.client.valid()) return;
  const auto chunk = std::make_unique<char[]>(kChunkBytes);
  for (;;) {
    const std::string_view bytes = Receive(stdin_.client.get(), chunk.get());
    if (bytes.empty()) break;
    if (!SendAll(stdin_.guest.get(), bytes)) {
      ShutDown(stdin_.client, SHUT_RDWR);  // nobody reads any more: tell the client
      return;
    }
  }
  // A terminal has no end; one whose client detached least of all.
  if (!options_.terminal) ShutDown(stdin_.guest, SHUT_WR);
}

void StdioPumps::PumpOutput(Stream& stream, OutputStream kind) {
  if (!Connect(stream)) return;
  const auto chunk = std::make_unique<char[]>(kChunkBytes);
  bool attached = stream.client.valid();
  for (;;) {
    const std::string_view bytes = Receive(stream.guest.get(), chunk.get());
    if (bytes.empty()) break;
    log_.Append(kind, bytes);
    attached = attached && SendAll(stream.client.get(), bytes);
  }
  log_.Finish(kind);
  ShutDown(stream.client, SHUT_WR);
}

void StdioPumps::JoinOutput() {
  for (Stream* stream : {&stdout_, &stderr_}) {
    if (stream->thread.joinable()) stream->thread.join();
  }
}

void StdioPumps::DropClient() {
  for (Stream* stream : {&stdin_, &stdout_, &stderr_}) ShutDown(stream->client, SHUT_RDWR);
}

void StdioPumps::Join() {
  // What the guest sent before it ended is still delivered; input has nowhere to go.
  ShutDown(stdin_.client, SHUT_RDWR);
  if (stdin_.thread.joinable()) stdin_.thread.join();
  JoinOutput();
}

}  // namespace hmvm
