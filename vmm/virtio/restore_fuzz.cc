// The state of a virtio device as a snapshot of anybody's may have it: refused, or a device that then runs on
// rings of the same guest without touching anything but its memory.
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/virtio/blk.h"
#include "vmm/virtio/console.h"
#include "vmm/virtio/mem.h"
#include "vmm/virtio/mmio_transport.h"
#include "vmm/virtio/rng.h"
#include "vmm/virtio/vsock.h"

namespace hmvm {
namespace {

class NoLine : public InterruptLine {
 public:
  void Trigger() override {}
};

std::unique_ptr<VirtioDevice> MakeDevice(uint8_t kind, const GuestMemory& memory, EventLoop& loop) {
  switch (kind % 5) {
    case 0: {
      UniqueFd file(::memfd_create("disk", MFD_CLOEXEC));
      if (::ftruncate(file.get(), 1 << 20) < 0) return nullptr;
      const int fd = file.get();
      return *Blk::CreateWith(CreateSyncBlockIo(fd, Blk::kQueueSize),
                              {.name = "blk0", .file = std::move(file), .serial = "blk0"}, loop);
    }
    case 1:
      return *Vsock::Create({.guest_cid = 3, .listener = {}, .path_prefix = "", .agent = {}}, loop);
    case 2:
      return *Console::Create({}, loop);
    case 3:
      return std::make_unique<Mem>(memory);
    default:
      return std::make_unique<Rng>();
  }
}

}  // namespace
}  // namespace hmvm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hmvm;
  if (size == 0) return 0;
  snapshot::VirtioState state;
  if (!state.ParseFromArray(data + 1, static_cast<int>(size - 1))) return 0;
  const auto loop = *EventLoop::Create();
  const GuestMemory memory =
      *GuestMemory::Create(1 << 20, {.bytes = 4 * Mem::kBlockBytes, .region_bytes = Mem::kRegionUnitBytes});
  auto device = MakeDevice(data[0], memory, *loop);
  if (device == nullptr) return 0;
  // So that the fuzzer need not guess them.
  state.set_device_id(device->DeviceId());
  state.set_driver_features(state.driver_features() | 1ull << VIRTIO_F_VERSION_1);
  while (state.queues_size() < static_cast<int>(device->QueueSizes().size())) state.add_queues();
  const auto transport = *MmioTransport::Create(std::move(device), memory, std::make_unique<NoLine>(), *loop);
  if (!transport->Restore(state).has_value()) return 0;
  loop->Post([&loop] { loop->Post([&loop] { loop->Stop(); }); });
  if (!loop->Run().has_value()) __builtin_trap();
  snapshot::VirtioState again;
  if (!transport->Save(&again).has_value()) __builtin_trap();
  return 0;
}
