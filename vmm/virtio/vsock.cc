#include "vmm/virtio/vsock.h"

#include <linux/vm_sockets.h>

#include "vmm/virtio/io_vectors.h"
#include "vmm/virtio/vsock_muxer.h"

namespace hmvm {
namespace {

constexpr uint16_t kQueueSizes[] = {256, 256, 16};
constexpr size_t kHeaderBytes = sizeof(virtio_vsock_hdr);

}  // namespace

Result<std::unique_ptr<VirtioDevice>> Vsock::Create(Options options, EventLoop& loop) {
  std::unique_ptr<Vsock> vsock(new Vsock(options.guest_cid));
  VsockMuxer::Options muxer{.guest_cid = options.guest_cid,
                            .listener = std::move(options.listener),
                            .path_prefix = std::move(options.path_prefix),
                            .agent = std::move(options.agent),
                            .mutex = &vsock->mutex(),
                            .serve = [vsock = vsock.get()] { return vsock->Service(); }};
  HMVM_TRY_ASSIGN(vsock->backend_, VsockMuxer::Create(std::move(muxer), loop));
  return vsock;
}

std::span<const uint16_t> Vsock::QueueSizes() const { return kQueueSizes; }

void Vsock::ReadConfig(uint64_t offset, std::span<std::byte> bytes) const {
  ReadConfigFrom(virtio_vsock_config{.guest_cid = guest_cid_}, offset, bytes);
}

Result<> Vsock::Activate(Activation activation) {
  if (active_) return Error{EBUSY, "vsock is active"};
  active_ = std::move(activation);
  return {};
}

void Vsock::Reset() {
  // A driver resets before its first activation too: connections that wait for the guest to boot stay.
  if (!active_) return;
  active_.reset();
  rx_held_ = false;
  backend_->Reset();
}

// The event queue only tells of transport resets, of which there are none: nothing is taken from it.
bool Vsock::OnQueueNotify(uint16_t queue) { return queue != kEventQueue && Service(); }

// Moves packets both ways; true when there are more than one round's.
bool Vsock::Service() {
  if (!active_) return false;
  const auto taken = TakePackets();
  const auto given = GivePackets();
  bool signal = active_->queues[kTxQueue].ShouldSignal();
  signal |= active_->queues[kRxQueue].ShouldSignal();
  if (signal) active_->interrupt->SignalUsed();
  for (const auto* result : {&taken, &given}) {
    if (!result->has_value()) active_->interrupt->SetNeedsReset(result->error());
  }
  return taken.has_value() && given.has_value() && (*taken || *given);
}

// true: there are more.
Result<bool> Vsock::TakePackets() {
  Queue& queue = active_->queues[kTxQueue];
  if (!queue.ready()) return false;
  for (uint16_t budget = queue.size(); budget > 0; --budget) {
    // Once answers have gone, GivePackets calls for another round.
    if (!backend_->AcceptsPackets()) return false;
    HMVM_TRY_ASSIGN(const bool popped, queue.Pop(tx_chain_));
    if (!popped) return false;
    TakePacket();
    queue.PushUsed(tx_chain_.head(), 0);
  }
  return true;
}

void Vsock::TakePacket() {
  virtio_vsock_hdr header;  // the one copy that is checked and used
  std::span<iovec> readable = tx_chain_.readable();
  const auto header_bytes = std::as_writable_bytes(std::span(&header, 1));
  if (CopyFromVectors(readable, header_bytes) != kHeaderBytes ||
      header.len > tx_chain_.readable_bytes() - kHeaderBytes || header.len > kMaxVsockPayloadBytes ||
      // §5.10.6: packets of others, or to others, are not for us to answer.
      header.src_cid != guest_cid_ || header.dst_cid != VMADDR_CID_HOST) {
    ++dropped_packets_;
    return;
  }
  ++tx_packets_;
  tx_bytes_ += header.len;
  backend_->OnPacket(header, KeepFront(TrimFront(readable, kHeaderBytes), header.len));
}

// true: there are more, or the guest's packets can be taken again.
Result<bool> Vsock::GivePackets() {
  Queue& queue = active_->queues[kRxQueue];
  if (!queue.ready()) return false;
  const bool accepted = backend_->AcceptsPackets();
  uint16_t budget = queue.size();
  for (; budget > 0 && backend_->HasPacket(); --budget) {
    if (!rx_held_) {
      HMVM_TRY_ASSIGN(rx_held_, queue.Pop(rx_chain_));
      if (!rx_held_) break;
    }
    if (rx_chain_.writable_bytes() <= kHeaderBytes)
      return Error{0, "vsock receive buffer without room for data"};
    room_.assign(rx_chain_.writable().begin(), rx_chain_.writable().end());
    const auto header = backend_->NextPacket(TrimFront(room_, kHeaderBytes));
    if (!header) break;
    CopyToVectors(std::as_bytes(std::span(&*header, 1)), rx_chain_.writable());
    queue.PushUsed(rx_chain_.head(), static_cast<uint32_t>(kHeaderBytes + header->len));
    rx_held_ = false;
    ++rx_packets_;
    rx_bytes_ += header->len;
  }
  return (budget == 0 && backend_->HasPacket()) || (!accepted && backend_->AcceptsPackets());
}

std::vector<QueueState> Vsock::QueueStates() const {
  std::vector<QueueState> states = StatesOf(active_);
  if (rx_held_) --states[kRxQueue].next_available;
  return states;
}

void Vsock::Save(snapshot::VirtioState* state) const {
  snapshot::VsockState* const vsock = state->mutable_vsock();
  vsock->set_guest_cid(guest_cid_);
  backend_->Save(vsock);
}

Result<> Vsock::Restore(const snapshot::VirtioState& state) {
  if (!state.has_vsock()) return Error{EINVAL, "no state of a vsock device"};
  if (state.vsock().guest_cid() != guest_cid_) {
    return Error{EINVAL, "the guest's vsock address is " + std::to_string(state.vsock().guest_cid()) +
                             ", not " + std::to_string(guest_cid_)};
  }
  return active_ ? backend_->Restore(state.vsock()) : Result<>();
}

CounterList Vsock::Counters() const {
  CounterList counters = {{"rx_packets", rx_packets_},
                          {"tx_packets", tx_packets_},
                          {"rx_bytes", rx_bytes_},
                          {"tx_bytes", tx_bytes_},
                          {"dropped_packets", dropped_packets_}};
  for (auto& counter : backend_->Counters()) counters.push_back(std::move(counter));
  return counters;
}

}  // namespace hmvm
