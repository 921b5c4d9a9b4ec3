#include "guest/agent/streams.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm::agent {
namespace {

std::string IdBytes(uint64_t id) {
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(id >> shift);
  return bytes;
}

class StreamRegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = std::move(*EventLoop::Create());
    UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address_.sun_family = AF_UNIX;  // the kernel chooses an abstract name
    ASSERT_EQ(::bind(listener.get(), Address(), sizeof(sa_family_t)), 0);
    ASSERT_EQ(::listen(listener.get(), 512), 0);
    address_length_ = sizeof(address_);
    ASSERT_EQ(::getsockname(listener.get(), Address(), &address_length_), 0);
    registry_ = std::move(*StreamRegistry::Create(*loop_, std::move(listener)));
  }

  sockaddr* Address() { return reinterpret_cast<sockaddr*>(&address_); }

  UniqueFd Connect(const std::string& first_bytes) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), Address(), address_length_), 0);
    EXPECT_TRUE(WriteAll(socket.get(), first_bytes).has_value());
    return socket;
  }

  // Keeps the connection that comes and stops the loop.
  StreamRegistry::Taker Take() {
    return [this](UniqueFd socket) {
      taken_ = std::move(socket);
      loop_->Stop();
    };
  }

  std::string ReadTaken(size_t size) {
    std::string bytes(size, '\0');
    bytes.resize(ReadFull(taken_.get(), std::as_writable_bytes(std::span(bytes))).value_or(0));
    return bytes;
  }

  std::unique_ptr<EventLoop> loop_;
  sockaddr_un address_ = {};
  socklen_t address_length_ = 0;
  std::unique_ptr<StreamRegistry> registry_;
  UniqueFd taken_;
};

TEST_F(StreamRegistryTest, ConnectionAfterTheClaimWasTakenBackIsClosed) {
  ASSERT_TRUE(registry_->Claim(7, [](UniqueFd) { FAIL(); }).has_value());
  registry_->Cancel(7);

  const UniqueFd late = Connect(IdBytes(7));
  ASSERT_TRUE(registry_->Claim(8, Take()).has_value());
  const UniqueFd next = Connect(IdBytes(8));
  ASSERT_TRUE(loop_->Run().has_value());  // accepted in order: the first has been dealt with

  char byte = 0;
  EXPECT_EQ(::recv(late.get(), &byte, 1, MSG_DONTWAIT), 0);
  EXPECT_EQ(registry_->unclaimed(), 0u);
}

TEST_F(StreamRegistryTest, ConnectionAfterTheClaimIsHandedOverWithItsBytes) {
  ASSERT_TRUE(registry_->Claim(0x0102030405060708, Take()).has_value());

  const UniqueFd host = Connect(IdBytes(0x0102030405060708) + "data");
  ASSERT_TRUE(loop_->Run().has_value());
  ASSERT_TRUE(SetNonBlocking(taken_.get(), false).has_value());

  EXPECT_EQ(ReadTaken(4), "data");
}

TEST_F(StreamRegistryTest, ConnectionBeforeTheClaimWaitsForIt) {
  const UniqueFd early = Connect(IdBytes(7));
  const UniqueFd other = Connect(IdBytes(8));
  ASSERT_TRUE(registry_->Claim(8, Take()).has_value());
  ASSERT_TRUE(loop_->Run().has_value());

  ASSERT_TRUE(registry_->Claim(7, Take()).has_value());

  EXPECT_EQ(registry_->unclaimed(), 0u);
}

TEST_F(StreamRegistryTest, IdInPiecesIsPutTogether) {
  ASSERT_TRUE(registry_->Claim(9, Take()).has_value());
  const UniqueFd host = Connect(IdBytes(9).substr(0, 3));
  loop_->Post([&] { EXPECT_TRUE(WriteAll(host.get(), IdBytes(9).substr(3)).has_value()); });

  ASSERT_TRUE(loop_->Run().has_value());

  EXPECT_TRUE(taken_.valid());
}

TEST_F(StreamRegistryTest, SecondClaimOfAnIdIsRefused) {
  ASSERT_TRUE(registry_->Claim(9, Take()).has_value());

  const auto again = registry_->Claim(9, Take());

  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, EEXIST);
}

TEST_F(StreamRegistryTest, ForgottenClaimCanBeMadeAgain) {
  ASSERT_TRUE(registry_->Claim(9, [](UniqueFd) { FAIL(); }).has_value());

  registry_->Forget();
  ASSERT_TRUE(registry_->Claim(9, Take()).has_value());
  const UniqueFd host = Connect(IdBytes(9));
  ASSERT_TRUE(loop_->Run().has_value());

  EXPECT_TRUE(taken_.valid());
}

TEST_F(StreamRegistryTest, UnclaimedConnectionsAreBounded) {
  std::vector<UniqueFd> hosts;
  for (uint64_t id = 1; id <= StreamRegistry::kMaxUnclaimed + 10; ++id) hosts.push_back(Connect(IdBytes(id)));
  const uint64_t last = StreamRegistry::kMaxUnclaimed + 11;
  ASSERT_TRUE(registry_->Claim(last, Take()).has_value());
  hosts.push_back(Connect(IdBytes(last)));

  ASSERT_TRUE(loop_->Run().has_value());

  EXPECT_LE(registry_->unclaimed(), StreamRegistry::kMaxUnclaimed);
}

}  // namespace
}  // namespace hmvm::agent
