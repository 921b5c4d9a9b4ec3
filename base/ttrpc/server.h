#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// Serves a table of methods on any number of connected sockets. Everything, the responders included, belongs
// to the loop's thread; destroy the server before the loop. Bounds a connection: kMaxParkedCalls unanswered
// calls (further ones get RESOURCE_EXHAUSTED), and no request is read while kMaxQueuedBytes of answers wait
// for a slow peer.
class TtrpcServer {
 public:
  static constexpr size_t kMaxParkedCalls = 1024;
  static constexpr size_t kMaxQueuedBytes = 8 << 20;

  // Answers one call: now, from the handler, or later. Call it once. After the connection or the server has
  // gone it does nothing.
  template <typename Response>
  using Responder = std::function<void(Result<Response>)>;
  using RawHandler = std::function<void(const std::string& payload, Responder<std::string> respond)>;

  explicit TtrpcServer(EventLoop& loop);
  ~TtrpcServer();
  TtrpcServer(const TtrpcServer&) = delete;
  TtrpcServer& operator=(const TtrpcServer&) = delete;

  // Registers the handler of SERVICE/METHOD for protobuf messages, before the first Serve(). A payload that
  // does not parse is answered INVALID_ARGUMENT. An Error given to `respond` becomes a status by status.h.
  template <typename Request, typename Response>
  void Handle(std::string_view service, std::string_view method,
              std::function<void(const Request& request, Responder<Response> respond)> handler) {
    HandleRaw(service, method,
              [handler = std::move(handler)](const std::string& payload, Responder<std::string> respond) {
                Request request;
                if (!request.ParseFromString(payload)) {
                  respond(Error{EINVAL, "request that does not parse"});
                  return;
                }
                handler(request, [respond = std::move(respond)](Result<Response> response) {
                  if (!response.has_value()) return respond(std::move(response).error());
                  respond(response->SerializeAsString());
                });
              });
  }
  // The same with serialized messages.
  void HandleRaw(std::string_view service, std::string_view method, RawHandler handler);

  // Serves `socket` (connected, SOCK_STREAM; taken over) until the peer closes or breaks it; then, on the
  // loop, `on_closed` is called once. It is not called for connections that end with the server.
  Result<> Serve(UniqueFd socket, std::function<void()> on_closed = {});

  size_t connections() const { return connections_.size(); }

 private:
  class Connection;

  void Dispatch(const std::shared_ptr<Connection>& connection, uint32_t stream_id, const std::string& data);
  void OnConnectionClosed(uint64_t id);

  EventLoop& loop_;
  std::map<std::string, RawHandler, std::less<>> handlers_;  // by "service/method"
  std::map<uint64_t, std::shared_ptr<Connection>> connections_;
  uint64_t next_connection_id_ = 1;
};

}  // namespace hmvm
