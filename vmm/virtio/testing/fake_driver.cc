#include "vmm/virtio/testing/fake_driver.h"

#include <atomic>
#include <cstdlib>

namespace hmvm {
namespace {

// The device may be on another thread: ring indexes are shared as the real ones are.
std::atomic_ref<uint16_t> Field(const GuestMemory& memory, GuestAddress address, uint64_t offset) {
  const auto slice = memory.Slice(GuestAddress{address.value + offset}, sizeof(uint16_t));
  if (!slice.has_value()) std::abort();  // the test's memory is too small
  // SAFETY: rings are aligned by FakeHeap, offsets are even.
  return std::atomic_ref(*reinterpret_cast<uint16_t*>(slice->data()));
}

}  // namespace

GuestAddress FakeHeap::Allocate(uint64_t bytes, uint64_t align) {
  next_ = (next_ + align - 1) / align * align;
  const GuestAddress address{next_};
  next_ += bytes;
  if (next_ > memory_->size_bytes()) std::abort();
  return address;
}

FakeQueue::FakeQueue(FakeHeap& heap, uint16_t size, uint64_t features) : heap_(&heap), features_(features) {
  state_.size = size;
  state_.ready = true;
  state_.descriptors = heap.Allocate(size * sizeof(vring_desc));
  state_.available = heap.Allocate(6 + size * sizeof(uint16_t));
  state_.used = heap.Allocate(6 + size * sizeof(vring_used_elem));
}

Queue FakeQueue::MakeDeviceQueue() const { return *Queue::Create(heap_->memory(), state_, features_); }

void FakeQueue::WriteDescriptor(uint16_t index, const vring_desc& descriptor) {
  const GuestAddress address{state_.descriptors.value + index * sizeof(vring_desc)};
  if (!heap_->memory().Write(address, descriptor).has_value()) std::abort();
}

void FakeQueue::MakeAvailable(uint16_t head) {
  const uint64_t slot = available_index_ % state_.size;
  Field(heap_->memory(), state_.available, 4 + 2 * slot).store(head, std::memory_order_relaxed);
  SetAvailableIndex(++available_index_);
}

void FakeQueue::SetAvailableIndex(uint16_t index) {
  Field(heap_->memory(), state_.available, 2).store(index, std::memory_order_release);
}
void FakeQueue::SetAvailableFlags(uint16_t flags) {
  Field(heap_->memory(), state_.available, 0).store(flags);
}
void FakeQueue::SetUsedEvent(uint16_t index) {
  Field(heap_->memory(), state_.available, 4 + 2 * state_.size).store(index);
}
uint16_t FakeQueue::UsedFlags() const { return Field(heap_->memory(), state_.used, 0).load(); }
uint16_t FakeQueue::AvailableEvent() const {
  return Field(heap_->memory(), state_.used, 4 + 8 * state_.size).load();
}
uint16_t FakeQueue::UsedIndex() const {
  return Field(heap_->memory(), state_.used, 2).load(std::memory_order_acquire);
}

uint16_t FakeQueue::Add(std::span<const Buffer> buffers, bool indirect) {
  const uint16_t head = next_descriptor_;
  const GuestAddress table = indirect ? heap_->Allocate(buffers.size() * sizeof(vring_desc)) : GuestAddress{};
  for (size_t i = 0; i < buffers.size(); ++i) {
    const bool last = i + 1 == buffers.size();
    const uint16_t next = indirect ? static_cast<uint16_t>(i + 1) : (next_descriptor_ + 1) % state_.size;
    const vring_desc descriptor = {
        .addr = buffers[i].address.value,
        .len = buffers[i].bytes,
        .flags = static_cast<uint16_t>((last ? 0 : VRING_DESC_F_NEXT) |
                                       (buffers[i].device_writes ? VRING_DESC_F_WRITE : 0)),
        .next = last ? uint16_t{0} : next};
    if (indirect) {
      const GuestAddress entry{table.value + i * sizeof(vring_desc)};
      if (!heap_->memory().Write(entry, descriptor).has_value()) std::abort();
    } else {
      WriteDescriptor(next_descriptor_, descriptor);
      next_descriptor_ = (next_descriptor_ + 1) % state_.size;
    }
  }
  if (indirect) {
    WriteDescriptor(head, {.addr = table.value,
                           .len = static_cast<uint32_t>(buffers.size() * sizeof(vring_desc)),
                           .flags = VRING_DESC_F_INDIRECT,
                           .next = 0});
    next_descriptor_ = (next_descriptor_ + 1) % state_.size;
  }
  MakeAvailable(head);
  return head;
}

std::optional<vring_used_elem> FakeQueue::TakeUsed() {
  if (UsedIndex() == used_index_) return std::nullopt;
  const uint64_t slot = used_index_++ % state_.size;
  // Ask to be signalled for the next one.
  SetUsedEvent(used_index_);
  return *heap_->memory().Read<vring_used_elem>(
      GuestAddress{state_.used.value + 4 + slot * sizeof(vring_used_elem)});
}

Result<> FakeMachine::Activate(VirtioDevice& device, uint64_t features) {
  std::lock_guard lock(device.mutex());
  device.Reset();
  queues.clear();
  Activation activation{.queues = {}, .features = features, .interrupt = &interrupt};
  for (const uint16_t size : device.QueueSizes()) {
    queues.emplace_back(heap, size, features);
    activation.queues.push_back(queues.back().MakeDeviceQueue());
  }
  return device.Activate(std::move(activation));
}

void FakeMachine::ActivateDisabled(VirtioDevice& device) {
  std::lock_guard lock(device.mutex());
  device.Reset();
  queues.clear();
  Activation activation{.queues = {}, .features = kCommonFeatures, .interrupt = &interrupt};
  activation.queues.resize(device.QueueSizes().size());
  if (!device.Activate(std::move(activation)).has_value()) std::abort();
}

GuestAddress FakeMachine::Place(std::span<const std::byte> bytes) {
  const GuestAddress address = heap.Allocate(bytes.size());
  if (!memory.WriteBytes(address, bytes).has_value()) std::abort();
  return address;
}

std::string FakeMachine::Text(GuestAddress address, uint64_t bytes) const {
  const auto slice = memory.Slice(address, bytes);
  if (!slice.has_value()) std::abort();
  return std::string(reinterpret_cast<const char*>(slice->data()), slice->size());
}

}  // namespace hmvm
