#include "vmm/virtio/mem.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "vmm/virtio/io_vectors.h"

namespace hmvm {
namespace {

constexpr uint16_t kQueueSizes[] = {64};

}  // namespace

Mem::Mem(const GuestMemory& memory)
    : memory_(memory), added_(memory.added()), plugged_(memory.added().size() / kBlockBytes) {}

std::span<const uint16_t> Mem::QueueSizes() const { return kQueueSizes; }

virtio_mem_config Mem::Config() const {
  virtio_mem_config config = {};
  config.block_size = kBlockBytes;
  config.addr = kHighRamStart;
  config.region_size = memory_.region_bytes();
  // Whole units, as Linux plugs nothing in a part of one. What is beyond the memory there is can't be
  // plugged.
  config.usable_region_size = (added_.size() + kRegionUnitBytes - 1) / kRegionUnitBytes * kRegionUnitBytes;
  config.plugged_size = plugged_blocks_ * kBlockBytes;
  config.requested_size = added_.size();
  return config;
}

void Mem::ReadConfig(uint64_t offset, std::span<std::byte> bytes) const {
  ReadConfigFrom(Config(), offset, bytes);
}

Result<> Mem::Activate(Activation activation) {
  if (active_) return Error{EBUSY, "mem is active"};
  active_ = std::move(activation);
  return {};
}

bool Mem::OnQueueNotify(uint16_t) {
  if (!active_ || !active_->queues[0].ready()) return false;
  Queue& queue = active_->queues[0];
  Result<bool> popped = true;
  // A request may give back much memory: one at a time.
  popped = queue.Pop(chain_);
  if (popped.has_value() && *popped) {
    virtio_mem_req request = {};
    const size_t got = CopyFromVectors(chain_.readable(), std::as_writable_bytes(std::span(&request, 1)));
    virtio_mem_resp response = {};
    response.type = VIRTIO_MEM_RESP_ERROR;
    ++requests_;
    if (got == sizeof(request)) response = Handle(request);
    if (response.type != VIRTIO_MEM_RESP_ACK) ++refused_;
    const size_t written = CopyToVectors(std::as_bytes(std::span(&response, 1)), chain_.writable());
    queue.PushUsed(chain_.head(), static_cast<uint32_t>(written));
  }
  if (queue.ShouldSignal()) active_->interrupt->SignalUsed();
  if (!popped.has_value()) active_->interrupt->SetNeedsReset(popped.error());
  return popped.has_value() && *popped;
}

virtio_mem_resp Mem::Handle(const virtio_mem_req& request) {
  virtio_mem_resp response = {};
  switch (request.type) {
    case VIRTIO_MEM_REQ_PLUG:
      response.type = Plug(request.u.plug.addr, request.u.plug.nb_blocks);
      break;
    case VIRTIO_MEM_REQ_UNPLUG:
      response.type = Unplug(request.u.unplug.addr, request.u.unplug.nb_blocks);
      break;
    case VIRTIO_MEM_REQ_UNPLUG_ALL:
      Give({0, plugged_.size()});
      response.type = VIRTIO_MEM_RESP_ACK;
      break;
    case VIRTIO_MEM_REQ_STATE:
      response.type = State(request.u.state.addr, request.u.state.nb_blocks, response.u.state);
      break;
    default:
      response.type = VIRTIO_MEM_RESP_ERROR;
  }
  return response;
}

// §5.15.6: whole blocks, at least one, inside the region. Written so that no sum can wrap.
std::optional<Mem::Range> Mem::Check(uint64_t address, uint16_t blocks) const {
  if (address < kHighRamStart || address % kBlockBytes != 0 || blocks == 0) return std::nullopt;
  const uint64_t first = (address - kHighRamStart) / kBlockBytes;
  if (first > plugged_.size() || blocks > plugged_.size() - first) return std::nullopt;
  return Range{first, blocks};
}

bool Mem::All(Range range, bool plugged) const {
  const auto begin = plugged_.begin() + static_cast<ptrdiff_t>(range.first);
  return std::find(begin, begin + static_cast<ptrdiff_t>(range.count), !plugged) ==
         begin + static_cast<ptrdiff_t>(range.count);
}

uint16_t Mem::Plug(uint64_t address, uint16_t blocks) {
  const auto range = Check(address, blocks);
  if (!range || !All(*range, false)) return VIRTIO_MEM_RESP_ERROR;
  std::fill_n(plugged_.begin() + static_cast<ptrdiff_t>(range->first), range->count, true);
  plugged_blocks_ += range->count;
  return VIRTIO_MEM_RESP_ACK;
}

uint16_t Mem::Unplug(uint64_t address, uint16_t blocks) {
  const auto range = Check(address, blocks);
  if (!range || !All(*range, true)) return VIRTIO_MEM_RESP_ERROR;
  Give(*range);
  return VIRTIO_MEM_RESP_ACK;
}

uint16_t Mem::State(uint64_t address, uint16_t blocks, virtio_mem_resp_state& state) const {
  const auto range = Check(address, blocks);
  if (!range) return VIRTIO_MEM_RESP_ERROR;
  state.state = All(*range, true)    ? VIRTIO_MEM_STATE_PLUGGED
                : All(*range, false) ? VIRTIO_MEM_STATE_UNPLUGGED
                                     : VIRTIO_MEM_STATE_MIXED;
  return VIRTIO_MEM_RESP_ACK;
}

// Blocks that are unplugged go back to the host. What they hold from then on is nobody's business
// (§5.15.6.2), but a diff must have it, too.
void Mem::Give(Range range) {
  for (size_t block = range.first; block < range.first + range.count; ++block) {
    if (!plugged_[block]) continue;
    plugged_[block] = false;
    --plugged_blocks_;
    const std::span<std::byte> bytes = added_.subspan(block * kBlockBytes, kBlockBytes);
    ::madvise(bytes.data(), bytes.size(), MADV_DONTNEED);
    memory_.MarkWritten(bytes.data(), bytes.size());
  }
}

void Mem::Save(snapshot::VirtioState* state) const {
  snapshot::MemState& mem = *state->mutable_mem();
  mem.set_region_bytes(memory_.region_bytes());
  mem.set_added_bytes(added_.size());
  std::string bits((plugged_.size() + 7) / 8, '\0');
  for (size_t block = 0; block < plugged_.size(); ++block) {
    if (plugged_[block]) bits[block / 8] = static_cast<char>(bits[block / 8] | 1 << block % 8);
  }
  mem.set_plugged(bits);
}

Result<> Mem::Restore(const snapshot::VirtioState& state) {
  const snapshot::MemState& mem = state.mem();
  const uint64_t blocks = mem.added_bytes() / kBlockBytes;
  if (!state.has_mem() || mem.region_bytes() != memory_.region_bytes() || blocks > plugged_.size() ||
      mem.plugged().size() != (blocks + 7) / 8) {
    return Error{EINVAL, "no state of this memory device"};
  }
  plugged_blocks_ = 0;
  for (size_t block = 0; block < blocks; ++block) {
    plugged_[block] = (mem.plugged()[block / 8] >> block % 8 & 1) != 0;
    if (plugged_[block]) ++plugged_blocks_;
  }
  if (active_ && mem.added_bytes() != added_.size()) active_->interrupt->SignalConfig();
  return {};
}

CounterList Mem::Counters() const {
  return {{"requests", requests_}, {"refused", refused_}, {"plugged_bytes", plugged_blocks_ * kBlockBytes}};
}

}  // namespace hmvm
