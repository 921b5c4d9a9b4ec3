// The virtqueue walk: the fuzzer's bytes are the rings, the descriptors and the memory they point into.
#include <cstdlib>
#include <cstring>

#include "base/file.h"
#include "vmm/virtio/queue.h"

namespace hmvm {
namespace {

constexpr uint64_t kMemoryBytes = 64 << 10;
constexpr uint16_t kSize = 16;

// Reads every readable byte and writes every writable one, so that a chain outside guest memory does not go
// unseen.
uint64_t Touch(DescriptorChain& chain) {
  uint64_t sum = 0;
  for (const iovec& buffer : chain.readable()) {
    for (size_t i = 0; i < buffer.iov_len; ++i) sum += static_cast<const uint8_t*>(buffer.iov_base)[i];
  }
  if (chain.readable().size() + chain.writable().size() > kMaxQueueSize) std::abort();
  for (const iovec& buffer : chain.writable()) {
    if (buffer.iov_len == 0) std::abort();
    static_cast<uint8_t*>(buffer.iov_base)[buffer.iov_len - 1] = 0;
    static_cast<uint8_t*>(buffer.iov_base)[0] = 0;
  }
  return sum;
}

}  // namespace
}  // namespace hmvm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hmvm;
  static const GuestMemory memory = *GuestMemory::Create(kMemoryBytes);
  if (size < 2) return 0;
  const uint64_t features = data[0] & 1 ? kQueueFeatures : 0;
  const uint16_t start = static_cast<uint16_t>(data[1] << 8);
  std::byte* ram = memory.regions()[0].host.data();
  std::memset(ram, 0, kMemoryBytes);
  std::memcpy(ram, data + 2, std::min<size_t>(size - 2, kMemoryBytes));

  const QueueState state = {.size = kSize,
                            .ready = true,
                            .descriptors = GuestAddress{0x100},
                            .available = GuestAddress{0},
                            .used = GuestAddress{0x40},
                            .next_available = start,
                            .next_used = start,
                            .signalled_used = start};
  Queue queue = *Queue::Create(memory, state, features);
  DescriptorChain chain;
  volatile uint64_t sum = 0;
  for (int i = 0; i < 2 * kSize; ++i) {
    const auto popped = queue.Pop(chain);
    if (!popped.has_value()) break;
    if (!*popped) break;
    if (chain.readable_bytes() + chain.writable_bytes() < 1 << 20) sum = sum + Touch(chain);
    queue.PushUsed(chain.head(), static_cast<uint32_t>(chain.writable_bytes()));
    queue.ShouldSignal();
  }
  return 0;
}
