#include "base/ttrpc/server.h"

#include <sys/socket.h>

#include <array>

#include "base/ttrpc/frame.h"
#include "base/ttrpc/status.h"
#include "base/ttrpc/ttrpc.pb.h"

namespace hmvm {
namespace {

std::string ErrorResponse(int code, const std::string& message) {
  ttrpc::Response response;
  response.mutable_status()->set_code(code);
  response.mutable_status()->set_message(message);
  return response.SerializeAsString();
}

std::string EncodeResult(Result<std::string> result) {
  if (!result.has_value()) {
    const TtrpcStatus status = StatusOfError(result.error());
    return ErrorResponse(status.code, status.message);
  }
  ttrpc::Response response;
  response.set_payload(std::move(result).value());
  if (response.ByteSizeLong() > kTtrpcMaxDataBytes) {
    return ErrorResponse(kTtrpcResourceExhausted, "answer over 4 MiB");
  }
  return response.SerializeAsString();
}

}  // namespace

// One peer. Lives in the server's table; a handler in flight may hold it a moment longer.
class TtrpcServer::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(TtrpcServer* server, uint64_t id, UniqueFd socket, std::function<void()> on_closed)
      : server_(server), id_(id), socket_(std::move(socket)), on_closed_(std::move(on_closed)) {}

  Result<> Start() {
    auto handler = [this](uint32_t events) -> Result<> {
      OnEvents(events);
      return {};
    };
    HMVM_TRY_ASSIGN(watch_, server_->loop_.OnEvents(socket_.get(), EPOLLIN, handler));
    return {};
  }

  // Takes the connection off the loop; responders that come later find it deaf.
  void Disconnect() {
    watch_ = Watch();
    server_ = nullptr;
  }

  void Park() { ++parked_; }

  void Answer(uint32_t stream_id, Result<std::string> result) {
    if (server_ == nullptr) return;
    --parked_;
    Queue(stream_id, EncodeResult(std::move(result)));
  }

  size_t parked() const { return parked_; }
  const std::function<void()>& on_closed() const { return on_closed_; }

  // Sends at once what the socket takes; the rest waits for EPOLLOUT. A dead peer is noticed by the next
  // event.
  void Queue(uint32_t stream_id, std::string_view data) {
    output_ += EncodeTtrpcFrame(stream_id, kTtrpcResponse, data);
    Flush();
    UpdateWatch();
  }

 private:
  void OnEvents(uint32_t events) {
    const auto self = shared_from_this();  // the server's reference may go below
    if (events & EPOLLOUT) Flush();
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) Read();
    if (broken_ && server_ != nullptr) server_->OnConnectionClosed(id_);
    if (server_ != nullptr) UpdateWatch();
  }

  void Read() {
    std::array<char, 64 << 10> chunk;
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0) {
      broken_ = true;
      return;
    }
    parser_.Append(std::string_view(chunk.data(), static_cast<size_t>(got)));
    while (auto frame = parser_.Next()) {
      OnFrame(*frame);
      if (server_ == nullptr) return;  // a handler ended the server
    }
  }

  void OnFrame(const TtrpcFrame& frame) {
    if (frame.type != kTtrpcRequest) return;
    if (frame.stream_id % 2 == 0) {
      Queue(frame.stream_id, ErrorResponse(kTtrpcInvalidArgument, "stream id of a client must be odd"));
    } else if (frame.oversized) {
      Queue(frame.stream_id, ErrorResponse(kTtrpcResourceExhausted, "request over 4 MiB"));
    } else if (parked_ >= kMaxParkedCalls) {
      Queue(frame.stream_id, ErrorResponse(kTtrpcResourceExhausted, "too many calls at once"));
    } else {
      server_->Dispatch(shared_from_this(), frame.stream_id, frame.data);
    }
  }

  void Flush() {
    size_t sent_bytes = 0;
    while (sent_bytes < output_.size()) {
      const ssize_t sent = ::send(socket_.get(), output_.data() + sent_bytes, output_.size() - sent_bytes,
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) {
        broken_ = broken_ || errno != EAGAIN;
        break;
      }
      sent_bytes += static_cast<size_t>(sent);
    }
    output_.erase(0, sent_bytes);
    if (broken_) output_.clear();
  }

  void UpdateWatch() {
    uint32_t wanted = 0;
    if (output_.size() < kMaxQueuedBytes) wanted |= EPOLLIN;
    if (!output_.empty()) wanted |= EPOLLOUT;
    if (broken_) wanted = EPOLLIN | EPOLLOUT;  // so that the loop comes and closes it
    if (wanted == watched_) return;
    watched_ = wanted;
    if (!watch_.SetEvents(wanted).has_value()) broken_ = true;
  }

  TtrpcServer* server_;  // null once disconnected
  const uint64_t id_;
  UniqueFd socket_;
  std::function<void()> on_closed_;
  Watch watch_;
  uint32_t watched_ = EPOLLIN;
  TtrpcFrameParser parser_;
  std::string output_;
  size_t parked_ = 0;
  bool broken_ = false;
};

TtrpcServer::TtrpcServer(EventLoop& loop) : loop_(loop) {}

TtrpcServer::~TtrpcServer() {
  for (auto& [id, connection] : connections_) connection->Disconnect();
}

void TtrpcServer::HandleRaw(std::string_view service, std::string_view method, RawHandler handler) {
  handlers_[std::string(service) + "/" + std::string(method)] = std::move(handler);
}

Result<> TtrpcServer::Serve(UniqueFd socket, std::function<void()> on_closed) {
  const uint64_t id = next_connection_id_++;
  auto connection = std::make_shared<Connection>(this, id, std::move(socket), std::move(on_closed));
  HMVM_TRY(connection->Start());
  connections_.emplace(id, std::move(connection));
  return {};
}

void TtrpcServer::Dispatch(const std::shared_ptr<Connection>& connection, uint32_t stream_id,
                           const std::string& data) {
  ttrpc::Request request;
  if (!request.ParseFromString(data)) {
    connection->Queue(stream_id, ErrorResponse(kTtrpcInvalidArgument, "frame that is no ttrpc request"));
    return;
  }
  const std::string name = request.service() + "/" + request.method();
  const auto handler = handlers_.find(name);
  if (handler == handlers_.end()) {
    connection->Queue(stream_id, ErrorResponse(kTtrpcUnimplemented, "no method '" + name + "'"));
    return;
  }
  connection->Park();
  handler->second(request.payload(),
                  [weak = std::weak_ptr<Connection>(connection), stream_id](Result<std::string> result) {
                    if (const auto alive = weak.lock()) alive->Answer(stream_id, std::move(result));
                  });
}

void TtrpcServer::OnConnectionClosed(uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  const std::shared_ptr<Connection> connection = found->second;
  connections_.erase(found);
  connection->Disconnect();
  if (connection->on_closed()) connection->on_closed()();
}

}  // namespace hmvm
