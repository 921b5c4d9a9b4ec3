// Client and server against each other over a socket pair, and each against a peer that misbehaves.
#include <sys/socket.h>

#include <future>
#include <thread>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/ttrpc/client.h"
#include "base/ttrpc/frame.h"
#include "base/ttrpc/server.h"
#include "base/ttrpc/status.h"
#include "base/ttrpc/ttrpc.pb.h"

namespace hmvm {
namespace {

// KeyValue stands for any API's messages.
using Message = ttrpc::KeyValue;
using Respond = TtrpcServer::Responder<Message>;

Message Text(const std::string& text) {
  Message message;
  message.set_value(text);
  return message;
}

// A server on a thread of its own: Echo answers with its argument, Fail with EEXIST, Park when Release is
// called.
class TtrpcTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.has_value());
    loop_ = std::move(*loop);
    server_ = std::make_unique<TtrpcServer>(*loop_);
    server_->Handle<Message, Message>("test.Service", "Echo",
                                      [](const Message& request, Respond respond) { respond(request); });
    server_->Handle<Message, Message>("test.Service", "Fail", [](const Message&, Respond respond) {
      respond(Error{EEXIST, "container 'x'"});
    });
    server_->Handle<Message, Message>("test.Service", "Park", [this](const Message&, Respond respond) {
      parked_.push_back(std::move(respond));
      parked_count_.store(parked_.size());
      parked_count_.notify_all();
    });
    server_->Handle<Message, Message>("test.Service", "Release",
                                      [this](const Message& request, Respond respond) {
                                        for (Respond& waiting : parked_) waiting(request);
                                        parked_.clear();
                                        respond(request);
                                      });
    thread_ = std::thread([this] { (void)loop_->Run().has_value(); });
  }

  void TearDown() override {
    loop_->Stop();
    thread_.join();
    server_.reset();
  }

  // A socket that the server serves.
  UniqueFd Connect() {
    auto pair = MakeSocketPair(SOCK_STREAM);
    std::promise<void> served;
    loop_->Post([&] {
      (void)server_->Serve(std::move(pair->second), [this] { closed_.set_value(); }).has_value();
      served.set_value();
    });
    served.get_future().get();
    return std::move(pair->first);
  }

  // Blocks until `count` calls wait in Park.
  void AwaitParked(size_t count) {
    for (size_t now = parked_count_.load(); now < count; now = parked_count_.load()) parked_count_.wait(now);
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<TtrpcServer> server_;
  std::vector<Respond> parked_;
  std::atomic<size_t> parked_count_ = 0;
  std::promise<void> closed_;
  std::thread thread_;
};

// Reads frames out of a raw socket; an empty frame at its end.
class FrameReader {
 public:
  explicit FrameReader(int fd) : fd_(fd) {}

  TtrpcFrame Next() {
    for (;;) {
      if (auto frame = parser_.Next()) return *frame;
      const ssize_t got = ::read(fd_, chunk_.data(), chunk_.size());
      if (got <= 0) return {};
      parser_.Append(std::string_view(chunk_.data(), static_cast<size_t>(got)));
    }
  }

 private:
  int fd_;
  std::array<char, 16384> chunk_;
  TtrpcFrameParser parser_;
};

TtrpcFrame ReadFrame(int fd) { return FrameReader(fd).Next(); }

int StatusCode(const TtrpcFrame& frame) {
  ttrpc::Response response;
  return response.ParseFromString(frame.data) ? response.status().code() : -1;
}

TEST_F(TtrpcTest, AnswerComesBack) {
  const auto client = TtrpcClient::Create(Connect());

  const auto answer = client->Call<Message>("test.Service", "Echo", Text("hello"));

  ASSERT_TRUE(answer.has_value()) << answer.error().Message();
  EXPECT_EQ(answer->value(), "hello");
}

TEST_F(TtrpcTest, LargeMessagesPassBothWays) {
  const auto client = TtrpcClient::Create(Connect());
  const std::string large(kTtrpcMaxDataBytes - 1000, 'x');

  const auto answer = client->Call<Message>("test.Service", "Echo", Text(large));

  ASSERT_TRUE(answer.has_value()) << answer.error().Message();
  EXPECT_EQ(answer->value(), large);
}

TEST_F(TtrpcTest, ErrorOfAHandlerReachesTheCaller) {
  const auto client = TtrpcClient::Create(Connect());

  const auto answer = client->Call<Message>("test.Service", "Fail", Text(""));

  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, EEXIST);
  EXPECT_EQ(answer.error().what, "container 'x'");
}

TEST_F(TtrpcTest, UnknownMethodIsUnimplemented) {
  const auto client = TtrpcClient::Create(Connect());

  const auto answer = client->Call<Message>("test.Service", "Nothing", Text(""));

  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, ENOSYS);
}

TEST_F(TtrpcTest, ParkedCallDoesNotHoldUpOthers) {
  const auto client = TtrpcClient::Create(Connect());
  auto parked =
      std::async(std::launch::async, [&] { return client->Call<Message>("test.Service", "Park", Text("")); });
  AwaitParked(1);

  const auto released = client->Call<Message>("test.Service", "Release", Text("now"));
  const auto answer = parked.get();

  EXPECT_TRUE(released.has_value());
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->value(), "now");
}

TEST_F(TtrpcTest, CallsOfManyThreadsGetTheirOwnAnswers) {
  const auto client = TtrpcClient::Create(Connect());
  std::vector<std::future<int>> threads;

  for (int thread = 0; thread < 8; ++thread) {
    threads.push_back(std::async(std::launch::async, [&client, thread] {
      int right = 0;
      for (int i = 0; i < 200; ++i) {
        const std::string text = std::to_string(thread) + "/" + std::to_string(i);
        const auto answer = client->Call<Message>("test.Service", "Echo", Text(text));
        right += answer.has_value() && answer->value() == text;
      }
      return right;
    }));
  }

  for (auto& thread : threads) EXPECT_EQ(thread.get(), 200);
}

TEST_F(TtrpcTest, CallWithoutAnswerTimesOutAndTheConnectionLivesOn) {
  const auto client = TtrpcClient::Create(Connect());

  const auto late = client->Call<Message>("test.Service", "Park", Text(""), std::chrono::milliseconds(1));
  AwaitParked(1);
  const auto next = client->Call<Message>("test.Service", "Release", Text("later"));

  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().code, ETIMEDOUT);
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->value(), "later");
}

TEST_F(TtrpcTest, ServerHearsOfAClientThatCloses) {
  TtrpcClient::Create(Connect()).reset();

  closed_.get_future().get();
}

TEST_F(TtrpcTest, AnswerForAClientThatHasGoneIsDropped) {
  auto client = TtrpcClient::Create(Connect());
  const auto late = client->Call<Message>("test.Service", "Park", Text(""), std::chrono::milliseconds(1));
  AwaitParked(1);
  client.reset();
  closed_.get_future().get();
  closed_ = {};

  const auto other = TtrpcClient::Create(Connect());
  const auto released = other->Call<Message>("test.Service", "Release", Text(""));

  EXPECT_FALSE(late.has_value());
  EXPECT_TRUE(released.has_value());
}

TEST_F(TtrpcTest, OversizedRequestIsRefusedByTheClient) {
  const auto client = TtrpcClient::Create(Connect());

  const auto answer =
      client->Call<Message>("test.Service", "Echo", Text(std::string(kTtrpcMaxDataBytes, 'x')));

  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, EMSGSIZE);
}

TEST_F(TtrpcTest, EvenStreamIdIsRefused) {
  const UniqueFd raw = Connect();

  ASSERT_TRUE(WriteAll(raw.get(), EncodeTtrpcFrame(2, kTtrpcRequest, "")).has_value());
  const TtrpcFrame frame = ReadFrame(raw.get());

  EXPECT_EQ(frame.stream_id, 2u);
  EXPECT_EQ(StatusCode(frame), kTtrpcInvalidArgument);
}

TEST_F(TtrpcTest, OversizedFrameIsAnsweredAndTheConnectionLivesOn) {
  const UniqueFd raw = Connect();
  std::string header = EncodeTtrpcFrame(1, kTtrpcRequest, "");
  header[1] = 0x40;  // 4 MiB
  header[3] = 1;     // and one byte
  ttrpc::Request request;
  request.set_service("test.Service");
  request.set_method("Echo");

  ASSERT_TRUE(WriteAll(raw.get(), header + std::string(kTtrpcMaxDataBytes + 1, 'x')).has_value());
  ASSERT_TRUE(
      WriteAll(raw.get(), EncodeTtrpcFrame(3, kTtrpcRequest, request.SerializeAsString())).has_value());
  FrameReader reader(raw.get());
  const TtrpcFrame refused = reader.Next();
  const TtrpcFrame answered = reader.Next();

  EXPECT_EQ(StatusCode(refused), kTtrpcResourceExhausted);
  EXPECT_EQ(answered.stream_id, 3u);
  EXPECT_EQ(StatusCode(answered), kTtrpcOk);
}

TEST_F(TtrpcTest, GarbageInsideAFrameIsInvalid) {
  const UniqueFd raw = Connect();

  ASSERT_TRUE(WriteAll(raw.get(), EncodeTtrpcFrame(1, kTtrpcRequest, "\xff\xff\xff")).has_value());

  EXPECT_EQ(StatusCode(ReadFrame(raw.get())), kTtrpcInvalidArgument);
}

TEST_F(TtrpcTest, CallsBeyondTheBoundAreRefused) {
  const UniqueFd raw = Connect();
  ttrpc::Request request;
  request.set_service("test.Service");
  request.set_method("Park");
  const std::string payload = request.SerializeAsString();

  for (uint32_t i = 0; i <= TtrpcServer::kMaxParkedCalls; ++i) {
    ASSERT_TRUE(WriteAll(raw.get(), EncodeTtrpcFrame(2 * i + 1, kTtrpcRequest, payload)).has_value());
  }
  const TtrpcFrame frame = ReadFrame(raw.get());

  EXPECT_EQ(frame.stream_id, 2 * TtrpcServer::kMaxParkedCalls + 1);
  EXPECT_EQ(StatusCode(frame), kTtrpcResourceExhausted);
}

TEST_F(TtrpcTest, PeerThatReadsNothingStopsTheReadingOfRequests) {
  const UniqueFd raw = Connect();
  ttrpc::Request request;
  request.set_service("test.Service");
  request.set_method("Echo");
  request.set_payload(Text(std::string(1 << 20, 'x')).SerializeAsString());
  const std::string frame = EncodeTtrpcFrame(1, kTtrpcRequest, request.SerializeAsString());
  auto writer = std::async(std::launch::async, [&] {
    for (int i = 0; i < 32; ++i) {
      if (!WriteAll(raw.get(), frame).has_value()) return false;
    }
    return true;
  });

  FrameReader reader(raw.get());
  int answers = 0;
  while (answers < 32 && StatusCode(reader.Next()) == kTtrpcOk) ++answers;

  EXPECT_EQ(answers, 32);
  EXPECT_TRUE(writer.get());
}

TEST(TtrpcClientTest, PeerThatDiesEndsAllCallsWithUnavailable) {
  auto pair = MakeSocketPair(SOCK_STREAM);
  const auto client = TtrpcClient::Create(std::move(pair->first));
  auto waiting =
      std::async(std::launch::async, [&] { return client->Call<Message>("test.Service", "Wait", Text("")); });
  (void)ReadFrame(pair->second.get());

  pair->second.reset();
  const auto ended = waiting.get();
  const auto later = client->Call<Message>("test.Service", "Wait", Text(""));

  ASSERT_FALSE(ended.has_value());
  EXPECT_EQ(ended.error().code, ECONNRESET);
  ASSERT_FALSE(later.has_value());
  EXPECT_EQ(later.error().code, ECONNRESET);
}

TEST(TtrpcClientTest, DeadlineHoldsWhileThePeerReadsNothing) {
  auto pair = MakeSocketPair(SOCK_STREAM);
  const auto client = TtrpcClient::Create(std::move(pair->first));

  const auto answer = client->Call<Message>("test.Service", "Echo", Text(std::string(3 << 20, 'x')),
                                            std::chrono::milliseconds(5));

  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, ETIMEDOUT);
}

TEST(TtrpcClientTest, AnswerThatIsNoResponseFailsTheCallOnly) {
  auto pair = MakeSocketPair(SOCK_STREAM);
  const auto client = TtrpcClient::Create(std::move(pair->first));
  auto call =
      std::async(std::launch::async, [&] { return client->Call<Message>("test.Service", "Echo", Text("")); });
  const TtrpcFrame request = ReadFrame(pair->second.get());

  // Frames of no known type and for no known call come first: both are ignored.
  const std::string noise =
      EncodeTtrpcFrame(request.stream_id, 3, "data") + EncodeTtrpcFrame(999, kTtrpcResponse, "");
  ASSERT_TRUE(
      WriteAll(pair->second.get(), noise + EncodeTtrpcFrame(request.stream_id, kTtrpcResponse, "\xff"))
          .has_value());
  const auto answer = call.get();

  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, EBADMSG);
}

}  // namespace
}  // namespace hmvm
