// Packets from the guest: headers and payloads from the fuzzer, against connections with live sockets.
#include <signal.h>
#include <sys/socket.h>

#include <cstdlib>

#include <fuzzer/FuzzedDataProvider.h>

#include "base/file.h"
#include "vmm/virtio/testing/fake_driver.h"
#include "vmm/virtio/vsock.h"

namespace hmvm {
namespace {

constexpr uint32_t kPorts[] = {1024, 1025, 5000, 1u << 30};

void RunPosted(EventLoop& loop) {
  loop.Post([&loop] { loop.Stop(); });
  if (!loop.Run().has_value()) std::abort();
}

}  // namespace
}  // namespace hmvm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hmvm;
  ::signal(SIGPIPE, SIG_IGN);  // as hmvm-vmm
  static FakeMachine machine(4 << 20);
  machine.heap = FakeHeap(machine.memory);
  machine.interrupt.needs_reset.clear();

  FuzzedDataProvider input(data, size);
  const std::unique_ptr<EventLoop> loop = *EventLoop::Create();
  SocketPair agent = *MakeSocketPair(SOCK_STREAM);
  if (!SetNonBlocking(agent.first.get(), true).has_value()) std::abort();
  const auto vsock = *Vsock::Create(
      {.guest_cid = 3, .listener = UniqueFd(), .path_prefix = "", .agent = std::move(agent.second)}, *loop);
  if (!machine.Activate(*vsock, kCommonFeatures).has_value()) std::abort();
  const uint32_t rx_bytes = 44 + input.ConsumeIntegralInRange<uint32_t>(0, 4096);
  for (int i = 0; i < 64; ++i) {
    const FakeQueue::Buffer buffer{machine.heap.Allocate(rx_bytes), rx_bytes, true};
    machine.queues[Vsock::kRxQueue].Add(std::span(&buffer, 1));
  }
  while (input.remaining_bytes() > 0) {
    const std::string payload = input.ConsumeRandomLengthString(2000);
    const virtio_vsock_hdr header = {
        .src_cid = input.ConsumeIntegralInRange<uint64_t>(0, 16) == 0 ? input.ConsumeIntegral<uint64_t>() : 3,
        .dst_cid = 2,
        .src_port = input.PickValueInArray(kPorts),
        .dst_port = input.PickValueInArray(kPorts),
        .len =
            input.ConsumeBool() ? static_cast<uint32_t>(payload.size()) : input.ConsumeIntegral<uint32_t>(),
        .type = input.ConsumeIntegralInRange<uint16_t>(0, 8) == 0 ? uint16_t{2} : uint16_t{1},
        .op = input.ConsumeIntegralInRange<uint16_t>(0, 8),
        .flags = input.ConsumeIntegralInRange<uint32_t>(0, 4),
        .buf_alloc = input.ConsumeIntegral<uint32_t>(),
        .fwd_cnt = input.ConsumeIntegral<uint32_t>()};
    std::string packet(reinterpret_cast<const char*>(&header), sizeof(header));
    packet += payload;
    const FakeQueue::Buffer buffer{machine.Place(packet), static_cast<uint32_t>(packet.size()), false};
    machine.queues[Vsock::kTxQueue].Add(std::span(&buffer, 1));
    {
      std::lock_guard lock(vsock->mutex());
      vsock->OnQueueNotify(Vsock::kTxQueue);
    }
    if (input.ConsumeBool()) {
      const std::string said = input.ConsumeRandomLengthString(200);
      (void)!::send(agent.first.get(), said.data(), said.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (input.ConsumeIntegralInRange(0, 15) == 0) agent.first.reset();
    RunPosted(*loop);
  }
  std::lock_guard lock(vsock->mutex());
  vsock->Reset();
  return 0;
}
