// Block requests: headers, sectors, ranges and shapes of chains from the fuzzer, against a small file.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include <fuzzer/FuzzedDataProvider.h>

#include "vmm/virtio/blk.h"
#include "vmm/virtio/testing/fake_driver.h"

namespace hmvm {
namespace {

constexpr uint64_t kDiskBytes = 64 << 10;

std::unique_ptr<VirtioDevice> MakeDisk(EventLoop& loop, bool read_only, const IoLimits& limits = {}) {
  Blk::Options options{.name = "blk0",
                       .file = UniqueFd(::memfd_create("disk", 0)),
                       .read_only = read_only,
                       .serial = "s",
                       .limits = limits};
  if (::ftruncate(options.file.get(), kDiskBytes) != 0) std::abort();
  auto io = CreateSyncBlockIo(options.file.get(), Blk::kQueueSize);
  return *Blk::CreateWith(std::move(io), std::move(options), loop);
}

}  // namespace
}  // namespace hmvm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hmvm;
  static const std::unique_ptr<EventLoop> loop = *EventLoop::Create();
  static FakeMachine machine(1 << 20);  // outlives the disks, one of which may hold requests at the end
  static const std::unique_ptr<VirtioDevice> disks[] = {
      MakeDisk(*loop, false), MakeDisk(*loop, true),
      MakeDisk(*loop, false, {.read_bytes_per_s = 4096, .write_operations_per_s = 100})};
  machine.heap = FakeHeap(machine.memory);
  machine.interrupt.needs_reset.clear();

  FuzzedDataProvider input(data, size);
  VirtioDevice& disk = *disks[input.ConsumeIntegralInRange(0, 2)];
  if (!machine.Activate(disk, disk.OfferedFeatures()).has_value()) std::abort();
  for (int request = 0; request < 4 && input.remaining_bytes() > 0; ++request) {
    const virtio_blk_outhdr header = {.type = input.ConsumeIntegralInRange<uint32_t>(0, 15),
                                      .ioprio = 0,
                                      .sector = input.ConsumeBool()
                                                    ? input.ConsumeIntegral<uint64_t>()
                                                    : input.ConsumeIntegralInRange<uint64_t>(0, 130)};
    std::string readable(reinterpret_cast<const char*>(&header), sizeof(header));
    readable += input.ConsumeRandomLengthString(600);
    readable.resize(input.ConsumeIntegralInRange<size_t>(0, readable.size()));
    readable.resize(readable.size() + 512 * input.ConsumeIntegralInRange<size_t>(0, 4));
    std::vector<FakeQueue::Buffer> buffers;
    for (size_t done = 0; done < readable.size();) {
      const size_t part = input.ConsumeIntegralInRange<size_t>(1, readable.size() - done);
      buffers.push_back({machine.Place(readable.substr(done, part)), static_cast<uint32_t>(part), false});
      done += part;
      if (buffers.size() > 8) break;
    }
    for (int count = input.ConsumeIntegralInRange(0, 3); count > 0; --count) {
      const uint32_t bytes = input.ConsumeIntegralInRange<uint32_t>(1, 2049);
      buffers.push_back({machine.heap.Allocate(bytes), bytes, true});
    }
    if (!buffers.empty()) machine.queues[0].Add(buffers);
  }
  std::lock_guard lock(disk.mutex());
  disk.OnQueueNotify(0);
  return 0;
}
