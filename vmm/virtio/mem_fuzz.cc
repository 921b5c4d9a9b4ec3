// Memory requests from the fuzzer, of any length and content, against a device that is saved and restored in
// between: it must keep the account that the answers imply.
#include <cstdlib>
#include <cstring>

#include <fuzzer/FuzzedDataProvider.h>

#include "vmm/virtio/mem.h"
#include "vmm/virtio/testing/fake_driver.h"

namespace hmvm {
namespace {

constexpr uint64_t kBlocks = 9;

uint64_t PluggedBytes(const Mem& mem) {
  virtio_mem_config config;
  mem.ReadConfig(0, std::as_writable_bytes(std::span(&config, 1)));
  return config.plugged_size;
}

}  // namespace
}  // namespace hmvm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hmvm;
  static FakeMachine machine(1 << 20,
                             {.bytes = kBlocks * Mem::kBlockBytes, .region_bytes = Mem::kRegionUnitBytes});
  machine.heap = FakeHeap(machine.memory);
  machine.interrupt.needs_reset.clear();
  FuzzedDataProvider input(data, size);
  Mem mem(machine.memory);
  if (!machine.Activate(mem, mem.OfferedFeatures()).has_value()) std::abort();
  uint64_t plugged = 0;
  for (int i = 0; i < 20 && input.remaining_bytes() > 0; ++i) {
    virtio_mem_req request = {};
    request.type = input.ConsumeIntegralInRange<uint16_t>(0, 5);
    request.u.plug.addr =
        input.ConsumeBool()
            ? input.ConsumeIntegral<uint64_t>()
            : kHighRamStart + input.ConsumeIntegralInRange<uint64_t>(0, 20) * (Mem::kBlockBytes / 2);
    request.u.plug.nb_blocks = input.ConsumeBool() ? input.ConsumeIntegral<uint16_t>()
                                                   : input.ConsumeIntegralInRange<uint16_t>(0, 10);
    const auto bytes =
        std::as_bytes(std::span(&request, 1))
            .first(input.ConsumeBool() ? sizeof(request) : input.ConsumeIntegralInRange<size_t>(1, 24));
    const uint32_t room =
        input.ConsumeBool() ? sizeof(virtio_mem_resp) : input.ConsumeIntegralInRange<uint32_t>(1, 64);
    const FakeQueue::Buffer buffers[] = {{machine.Place(bytes), static_cast<uint32_t>(bytes.size()), false},
                                         {machine.heap.Allocate(room), room, true}};
    machine.queues[0].Add(buffers);
    {
      std::lock_guard lock(mem.mutex());
      while (mem.OnQueueNotify(0)) {
      }
    }
    const uint64_t now = PluggedBytes(mem);
    if (now > kBlocks * Mem::kBlockBytes || now % Mem::kBlockBytes != 0) std::abort();
    if (bytes.size() < sizeof(request) && now != plugged) std::abort();
    if (request.type == VIRTIO_MEM_REQ_STATE && now != plugged) std::abort();
    plugged = now;
    if (input.ConsumeIntegralInRange(0, 7) != 0) continue;
    snapshot::VirtioState state;
    mem.Save(&state);
    Mem restored(machine.memory);
    if (!restored.Restore(state).has_value() || PluggedBytes(restored) != plugged) std::abort();
  }
  std::lock_guard lock(mem.mutex());
  mem.Reset();
  return 0;
}
