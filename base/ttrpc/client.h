#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/result.h"
#include "base/ttrpc/frame.h"
#include "base/unique_fd.h"

namespace hmvm {

// The calling side of one connected ttrpc socket. All calls block their thread and may come from any number
// of threads at once; answers may arrive in any order. A peer that goes away, or breaks the protocol, ends
// all calls with ECONNRESET (UNAVAILABLE), those made later too.
class TtrpcClient {
 public:
  using Timeout = std::optional<std::chrono::nanoseconds>;

  // Takes over `socket`: connected, SOCK_STREAM. Starts the reader thread.
  static std::unique_ptr<TtrpcClient> Create(UniqueFd socket);
  // Ends outstanding calls; no new ones may be made by then.
  ~TtrpcClient();
  TtrpcClient(const TtrpcClient&) = delete;
  TtrpcClient& operator=(const TtrpcClient&) = delete;

  // Calls SERVICE/METHOD with a protobuf message and returns the parsed answer. A status of the peer comes
  // back as Error{errno by status.h, the peer's message}; ETIMEDOUT when there was no answer in time (the
  // call may still have its effect); EMSGSIZE for a request over 4 MiB; EBADMSG for an answer that is no
  // ResponseType.
  template <typename ResponseType, typename RequestType>
  Result<ResponseType> Call(std::string_view service, std::string_view method, const RequestType& request,
                            Timeout timeout = std::nullopt) {
    HMVM_TRY_ASSIGN(const std::string answer, CallRaw(service, method, request.SerializeAsString(), timeout));
    ResponseType response;
    if (!response.ParseFromString(answer)) return Error{EBADMSG, "answer of " + std::string(method)};
    return response;
  }

  // The same with serialized messages.
  Result<std::string> CallRaw(std::string_view service, std::string_view method, std::string payload,
                              Timeout timeout = std::nullopt);

  // Ends all calls, now and later, with ECONNRESET. Thread-safe.
  void Close();

 private:
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;
  struct PendingCall {
    std::optional<Result<std::string>> answer;
    std::condition_variable answered;
  };

  explicit TtrpcClient(UniqueFd socket) : socket_(std::move(socket)) {}
  Result<> Send(std::string_view bytes, const Deadline& deadline);
  Result<> SendLocked(std::unique_lock<std::mutex>& lock, std::string_view bytes, const Deadline& deadline);
  void ReadAnswers();
  void OnFrame(const TtrpcFrame& frame);
  void FailAll();

  UniqueFd socket_;

  std::mutex mutex_;
  std::map<uint32_t, PendingCall*> pending_;  // by stream id; each lives on its caller's stack
  uint32_t next_stream_id_ = 1;               // client streams are odd
  bool closed_ = false;
  bool sending_ = false;  // one frame at a time goes out
  std::condition_variable sender_changed_;

  std::thread reader_;  // last: runs while all above exists
};

}  // namespace hmvm
