#include "vmm/virtio/queue.h"

#include <atomic>
#include <bit>
#include <limits>
#include <string>
#include <type_traits>

namespace hmvm {
namespace {

constexpr uint64_t kFlagsBytes = 2 * sizeof(uint16_t);  // flags and idx, in front of both rings
constexpr uint64_t kDescriptorAlign = 16;               // §2.7, the table of alignments
constexpr uint64_t kAvailableAlign = 2;
constexpr uint64_t kUsedAlign = 4;

// Fields that the driver reads or writes at the same time: 16 bits, aligned because the ring is.
uint16_t Load(std::byte* field, std::memory_order order) {
  // SAFETY: Create() checked range and alignment of the ring that `field` lies in.
  return std::atomic_ref(*reinterpret_cast<uint16_t*>(field)).load(order);
}
void Store(std::byte* field, uint16_t value, std::memory_order order) {
  // SAFETY: as above.
  std::atomic_ref(*reinterpret_cast<uint16_t*>(field)).store(value, order);
}

Result<std::byte*> Ring(const GuestMemory& memory, GuestAddress address, uint64_t bytes, uint64_t align,
                        const char* name) {
  if (address.value % align != 0) return Error{EINVAL, std::string(name) + " is not aligned"};
  auto slice = memory.Slice(address, bytes);
  if (!slice.has_value()) return Wrap(name, slice.error());
  return slice->data();
}

}  // namespace

Result<Queue> Queue::Create(const GuestMemory& memory, const QueueState& state, uint64_t features) {
  Queue queue;
  if (!state.ready) return queue;
  if (!std::has_single_bit(state.size) || state.size > kMaxQueueSize) {
    return Error{EINVAL, "queue size " + std::to_string(state.size)};
  }
  // Each ring with the event index behind it, whether negotiated or not: §2.7 counts it in.
  const uint64_t size = state.size;
  HMVM_TRY_ASSIGN(queue.descriptors_, Ring(memory, state.descriptors, size * sizeof(vring_desc),
                                           kDescriptorAlign, "descriptor table"));
  HMVM_TRY_ASSIGN(queue.available_, Ring(memory, state.available, kFlagsBytes + size * 2 + 2, kAvailableAlign,
                                         "available ring"));
  HMVM_TRY_ASSIGN(queue.used_, Ring(memory, state.used, kFlagsBytes + size * sizeof(vring_used_elem) + 2,
                                    kUsedAlign, "used ring"));
  queue.memory_ = &memory;
  queue.writes_ = DeviceWrites(&memory, state.size);
  queue.state_ = state;
  queue.available_end_ = state.next_available;
  queue.event_idx_ = (features >> VIRTIO_RING_F_EVENT_IDX & 1) != 0;
  queue.indirect_ = (features >> VIRTIO_RING_F_INDIRECT_DESC & 1) != 0;
  return queue;
}

std::byte* Queue::AvailableEntry(uint16_t index) const {
  return available_ + kFlagsBytes + sizeof(uint16_t) * (index & (state_.size - 1));
}
std::byte* Queue::UsedEntry(uint16_t index) const {
  return used_ + kFlagsBytes + sizeof(vring_used_elem) * (index & (state_.size - 1));
}
// §2.7.10: the event indexes lie behind the last entry of each ring.
std::byte* Queue::UsedEvent() const { return available_ + kFlagsBytes + sizeof(uint16_t) * state_.size; }
std::byte* Queue::AvailableEvent() const {
  return used_ + kFlagsBytes + sizeof(vring_used_elem) * state_.size;
}

Error Queue::Broken(std::string what) {
  broken_ = true;
  return Error{0, "broken ring: " + std::move(what)};
}

Result<bool> Queue::Pop(DescriptorChain& chain) {
  if (!ready() || broken_) return false;
  if (state_.next_available == available_end_) {
    HMVM_TRY(RefreshAvailable());
    if (state_.next_available == available_end_) {
      EnableNotifications();
      // The driver may have added a chain before it could see that we want to hear of it.
      HMVM_TRY(RefreshAvailable());
      if (state_.next_available == available_end_) return false;
    }
    SuppressNotifications();
  }
  // RefreshAvailable orders this load after the driver's store.
  const uint16_t head = Load(AvailableEntry(state_.next_available), std::memory_order_relaxed);
  HMVM_TRY(Walk(head, chain));
  writes_.Begin(head, chain.writable());
  ++state_.next_available;
  return true;
}

Result<> Queue::RefreshAvailable() {
  available_end_ = Load(available_ + sizeof(uint16_t), std::memory_order_seq_cst);
  // §2.7.6: idx runs free and wraps at 2^16; it can't be ahead of us by more than there are descriptors.
  const uint16_t pending = available_end_ - state_.next_available;
  if (pending > state_.size) return Broken("available index ahead by " + std::to_string(pending));
  return {};
}

void Queue::EnableNotifications() {
  // Sequentially consistent, as the load of the index that follows: the store must be visible before the
  // index is read again, or both sides could wait for each other. (Not a fence: thread sanitizers do not know
  // them.)
  if (event_idx_) {
    Store(AvailableEvent(), state_.next_available, std::memory_order_seq_cst);
    memory_->MarkWritten(AvailableEvent(), sizeof(uint16_t));
  } else {
    Store(used_, 0, std::memory_order_seq_cst);
    memory_->MarkWritten(used_, sizeof(uint16_t));
    notifications_suppressed_ = false;
  }
}

void Queue::SuppressNotifications() {
  // With event_idx the index written last lies behind by now, which suppresses by itself.
  if (event_idx_ || notifications_suppressed_) return;
  Store(used_, VRING_USED_F_NO_NOTIFY, std::memory_order_relaxed);
  memory_->MarkWritten(used_, sizeof(uint16_t));
  notifications_suppressed_ = true;
}

Result<> Queue::Walk(uint16_t head, DescriptorChain& chain) {
  chain.head_ = head;
  chain.readable_count_ = 0;
  chain.readable_bytes_ = 0;
  chain.writable_bytes_ = 0;
  chain.buffers_.clear();

  const std::byte* table = descriptors_;
  uint32_t table_size = state_.size;
  bool in_indirect = false;
  uint32_t index = head;
  uint32_t left = table_size;
  for (;;) {
    if (index >= table_size) return Broken("descriptor index " + std::to_string(index));
    // A walk that is longer than its table has entries has come in a circle.
    if (left-- == 0) return Broken("descriptors in a circle");
    vring_desc descriptor;  // the one copy that is checked and used
    std::memcpy(&descriptor, table + index * sizeof(vring_desc), sizeof(descriptor));

    if ((descriptor.flags & VRING_DESC_F_INDIRECT) != 0) {
      if (!indirect_) return Broken("indirect descriptor without the feature");
      if (in_indirect) return Broken("indirect descriptor in an indirect table");
      if ((descriptor.flags & VRING_DESC_F_NEXT) != 0) return Broken("indirect descriptor with a next one");
      if (descriptor.len == 0 || descriptor.len % sizeof(vring_desc) != 0 ||
          descriptor.len / sizeof(vring_desc) > kMaxQueueSize) {
        return Broken("indirect table of " + std::to_string(descriptor.len) + " bytes");
      }
      const auto indirect_table = memory_->Slice(GuestAddress{descriptor.addr}, descriptor.len);
      if (!indirect_table.has_value()) return Broken("indirect table outside RAM");
      table = indirect_table->data();
      table_size = descriptor.len / sizeof(vring_desc);
      in_indirect = true;
      index = 0;
      left = table_size;
      continue;
    }
    HMVM_TRY(AddBuffer(descriptor, chain));
    if ((descriptor.flags & VRING_DESC_F_NEXT) == 0) return {};
    index = descriptor.next;
  }
}

Result<> Queue::AddBuffer(const vring_desc& descriptor, DescriptorChain& chain) {
  if (descriptor.len == 0) return Broken("buffer of 0 bytes");
  if (chain.buffers_.size() == kMaxQueueSize) return Broken("more buffers than a queue can have");
  const auto buffer = memory_->Slice(GuestAddress{descriptor.addr}, descriptor.len);
  if (!buffer.has_value()) return Broken("buffer outside RAM");
  const uint64_t total = chain.readable_bytes_ + chain.writable_bytes_ + descriptor.len;
  if (total > std::numeric_limits<uint32_t>::max()) return Broken("chain of 4 GiB");  // §2.7.4

  if ((descriptor.flags & VRING_DESC_F_WRITE) != 0) {
    chain.writable_bytes_ += descriptor.len;
  } else {
    if (chain.writable_bytes_ != 0) return Broken("readable buffer behind a writable one");  // §2.7.4.2
    chain.readable_bytes_ += descriptor.len;
    ++chain.readable_count_;
  }
  chain.buffers_.push_back({.iov_base = buffer->data(), .iov_len = buffer->size()});
  return {};
}

void Queue::PushUsed(uint16_t head, uint32_t written_bytes) {
  writes_.End(head);
  if (!ready() || broken_) return;
  const vring_used_elem element = {.id = head, .len = written_bytes};
  std::memcpy(UsedEntry(state_.next_used), &element, sizeof(element));
  ++state_.next_used;
  Store(used_ + sizeof(uint16_t), state_.next_used, std::memory_order_release);
  memory_->MarkWritten(UsedEntry(state_.next_used - 1), sizeof(element));
  memory_->MarkWritten(used_, kFlagsBytes);
}

bool Queue::ShouldSignal() {
  if (!ready() || state_.next_used == state_.signalled_used) return false;
  // The used index must be visible before the driver's wish is read (§2.7.7.2): store it once more, in an
  // order that holds for the load behind it too.
  Store(used_ + sizeof(uint16_t), state_.next_used, std::memory_order_seq_cst);
  const uint16_t before = std::exchange(state_.signalled_used, state_.next_used);
  if (!event_idx_) return (Load(available_, std::memory_order_seq_cst) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
  return vring_need_event(Load(UsedEvent(), std::memory_order_seq_cst), state_.next_used, before) != 0;
}

}  // namespace hmvm
