// The agent of a real guest, for guest/agent/container_scenarios.cc: hmvm-vmm, the kernel, the initramfs.
#include <sys/socket.h>
#include <sys/un.h>

#include <filesystem>

#include "base/file.h"
#include "base/process.h"
#include "guest/agent/testing/agent_under_test.h"
#include "guest/api/agent.pb.h"
#include "tests/support/sandbox.h"

namespace hmvm::agent::test {
namespace {

constexpr uint32_t kStreamsPort = 1025;

class GuestAgent : public AgentUnderTest {
 public:
  static Result<std::unique_ptr<AgentUnderTest>> Start(const std::string& erofs) {
    auto agent = std::make_unique<GuestAgent>();
    agent->vsock_ = erofs + ".vsock";
    HMVM_TRY_ASSIGN(SocketPair channel, MakeSocketPair(SOCK_STREAM));
    constexpr int kAgentFd = 3;
    HMVM_TRY_ASSIGN(
        agent->vmm_,
        Process::Start(
            {.arguments = {hmvm::test::VmmProgram(), "--kernel=" + hmvm::test::GuestKernel().string(),
                           "--initrd=" + hmvm::test::GuestInitramfs().string(), "--memory_mib=512",
                           "--disks=ro:" + erofs, "--vsock_listener=" + agent->vsock_,
                           "--agent=fd:" + std::to_string(kAgentFd)},
             .fds = {{channel.second.get(), kAgentFd}},
             .die_with_parent = true}));
    agent->client_ = TtrpcClient::Create(std::move(channel.first));
    // The socket is there once the guest answers.
    HMVM_TRY(agent->client_->Call<v1::DescribeResponse>("hmvm.agent.v1.Agent", "Describe",
                                                        v1::DescribeRequest(), std::chrono::minutes(2)));
    return agent;
  }

  ~GuestAgent() override {
    if (client_ == nullptr) return;
    (void)client_->Call<v1::Empty>("hmvm.agent.v1.Agent", "PowerOff", v1::Empty(), std::chrono::minutes(1))
        .has_value();
    (void)vmm_.Wait().has_value();
  }

  TtrpcClient& client() override { return *client_; }
  std::string lower_device() const override { return "/dev/vda"; }
  bool limits_memory() const override { return true; }

  Result<UniqueFd> ConnectStream(uint64_t id) override {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    vsock_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
      return Error{errno, "connect to '" + vsock_ + "'"};
    }
    HMVM_TRY(WriteAll(socket.get(), "CONNECT " + std::to_string(kStreamsPort) + "\n"));
    std::string answer;
    while (!answer.ends_with('\n')) {
      char byte;
      HMVM_TRY_ASSIGN(const size_t got, ReadFull(socket.get(), std::as_writable_bytes(std::span(&byte, 1))));
      if (got == 0) return Error{0, "no stream connection: '" + answer + "'"};
      answer += byte;
    }
    HMVM_TRY(WriteAll(socket.get(), std::as_bytes(std::span(&id, 1))));
    return socket;
  }

 private:
  std::string vsock_;
  Process vmm_;
  std::unique_ptr<TtrpcClient> client_;
};

}  // namespace

Result<std::unique_ptr<AgentUnderTest>> AgentUnderTest::Start(const std::string& erofs) {
  if (const std::string why = hmvm::test::WhyNoGuest(); !why.empty()) return Error{EPERM, why};
  return GuestAgent::Start(erofs);
}

}  // namespace hmvm::agent::test
