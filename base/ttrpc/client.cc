#include "base/ttrpc/client.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/ttrpc/status.h"
#include "base/ttrpc/ttrpc.pb.h"

namespace hmvm {
namespace {

using std::chrono::steady_clock;

Error Gone() { return Error{ECONNRESET, "connection closed"}; }

// Waits on `condition` until notified or the deadline; false when the deadline has passed.
bool WaitOnce(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
              const std::optional<steady_clock::time_point>& deadline) {
  if (deadline.has_value()) return condition.wait_until(lock, *deadline) == std::cv_status::no_timeout;
  condition.wait(lock);
  return true;
}

// Waits until the socket takes bytes; false at the deadline.
bool WaitWritable(int fd, const std::optional<steady_clock::time_point>& deadline) {
  pollfd poll_fd = {.fd = fd, .events = POLLOUT, .revents = 0};
  int timeout_ms = -1;
  if (deadline.has_value()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - steady_clock::now()).count();
    timeout_ms = static_cast<int>(std::clamp<int64_t>(left, 0, INT32_MAX));
  }
  const int ready = ::poll(&poll_fd, 1, timeout_ms);
  return ready > 0 || (ready < 0 && errno == EINTR);
}

}  // namespace

std::unique_ptr<TtrpcClient> TtrpcClient::Create(UniqueFd socket) {
  std::unique_ptr<TtrpcClient> client(new TtrpcClient(std::move(socket)));
  client->reader_ = std::thread([raw = client.get()] { raw->ReadAnswers(); });
  return client;
}

TtrpcClient::~TtrpcClient() {
  Close();
  reader_.join();
}

void TtrpcClient::Close() {
  ::shutdown(socket_.get(), SHUT_RDWR);  // wakes the reader and a sender that waits
  FailAll();
}

Result<std::string> TtrpcClient::CallRaw(std::string_view service, std::string_view method,
                                         std::string payload, Timeout timeout) {
  ttrpc::Request request;
  request.set_service(std::string(service));
  request.set_method(std::string(method));
  request.set_payload(std::move(payload));
  Deadline deadline;
  if (timeout.has_value()) {
    request.set_timeout_nano(timeout->count());
    deadline = steady_clock::now() + *timeout;
  }
  if (request.ByteSizeLong() > kTtrpcMaxDataBytes)
    return Error{EMSGSIZE, "request of " + std::string(method)};

  std::unique_lock lock(mutex_);
  if (closed_) return Gone();
  while (pending_.contains(next_stream_id_)) next_stream_id_ += 2;  // after 2^31 calls some may still be out
  const uint32_t stream_id = next_stream_id_;
  next_stream_id_ += 2;
  PendingCall call;
  pending_.emplace(stream_id, &call);
  const std::string frame = EncodeTtrpcFrame(stream_id, kTtrpcRequest, request.SerializeAsString());
  if (auto sent = SendLocked(lock, frame, deadline); !sent.has_value()) {
    pending_.erase(stream_id);
    return sent.error();
  }
  while (!call.answer.has_value()) {
    if (WaitOnce(call.answered, lock, deadline) || call.answer.has_value()) continue;
    pending_.erase(stream_id);
    return Error{ETIMEDOUT, "no answer to " + std::string(method)};
  }
  return std::move(*call.answer);  // OnFrame and FailAll took it out of pending_
}

// One frame goes out at a time, without the mutex held while the socket is full.
Result<> TtrpcClient::SendLocked(std::unique_lock<std::mutex>& lock, std::string_view bytes,
                                 const Deadline& deadline) {
  while (sending_ && !closed_) {
    if (!WaitOnce(sender_changed_, lock, deadline)) return Error{ETIMEDOUT, "send request"};
  }
  if (closed_) return Gone();
  sending_ = true;
  lock.unlock();
  auto sent = Send(bytes, deadline);
  lock.lock();
  sending_ = false;
  sender_changed_.notify_one();
  return sent;
}

Result<> TtrpcClient::Send(std::string_view bytes, const Deadline& deadline) {
  const size_t frame_bytes = bytes.size();
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return Gone();
    if (WaitWritable(socket_.get(), deadline)) continue;
    // Half a frame has gone out: nothing sensible can follow it on this connection.
    if (bytes.size() != frame_bytes) Close();
    return Error{ETIMEDOUT, "send request"};
  }
  return {};
}

void TtrpcClient::ReadAnswers() {
  TtrpcFrameParser parser;
  std::array<char, 64 << 10> chunk;
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    parser.Append(std::string_view(chunk.data(), static_cast<size_t>(got)));
    while (auto frame = parser.Next()) OnFrame(*frame);
  }
  FailAll();
}

void TtrpcClient::OnFrame(const TtrpcFrame& frame) {
  if (frame.type != kTtrpcResponse) return;
  Result<std::string> answer;
  ttrpc::Response response;
  if (frame.oversized) {
    answer = Error{EMSGSIZE, "answer over 4 MiB"};
  } else if (!response.ParseFromString(frame.data)) {
    answer = Error{EBADMSG, "answer that is no ttrpc response"};
  } else if (response.status().code() != kTtrpcOk) {
    answer = ErrorOfStatus(response.status().code(), response.status().message());
  } else {
    answer = std::move(*response.mutable_payload());
  }
  std::lock_guard lock(mutex_);
  const auto call = pending_.find(frame.stream_id);
  if (call == pending_.end()) return;  // its caller has given up
  call->second->answer = std::move(answer);
  call->second->answered.notify_one();
  pending_.erase(call);
}

void TtrpcClient::FailAll() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  for (auto& [stream_id, call] : pending_) {
    call->answer = Gone();
    call->answered.notify_one();
  }
  pending_.clear();
  sender_changed_.notify_all();
}

}  // namespace hmvm
