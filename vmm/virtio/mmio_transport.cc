#include "vmm/virtio/mmio_transport.h"

#include <linux/virtio_mmio.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "security/fd_class.h"

namespace hmvm {
namespace {

constexpr uint32_t kMagic = 0x74726976;    // "virt", little endian
constexpr uint32_t kVersion = 2;           // §4.2.2: 1 was the legacy interface
constexpr uint32_t kVendor = 0x6d766d68;   // "hmvm"
constexpr uint32_t kNoSharedMemory = ~0u;  // §4.2.2.1: the length of a region that does not exist
constexpr uint64_t kMaxLoggedResets = 8;   // a guest can make us log no more than this for one device

uint32_t Half(uint64_t value, uint32_t select) {
  return select == 0 ? static_cast<uint32_t>(value) : select == 1 ? static_cast<uint32_t>(value >> 32) : 0;
}

void SetLow(GuestAddress& address, uint32_t value) {
  address.value = (address.value & ~0xffffffffull) | value;
}
void SetHigh(GuestAddress& address, uint32_t value) {
  address.value = (address.value & 0xffffffffull) | static_cast<uint64_t>(value) << 32;
}

}  // namespace

Result<std::unique_ptr<MmioTransport>> MmioTransport::Create(std::unique_ptr<VirtioDevice> device,
                                                             const GuestMemory& memory,
                                                             std::unique_ptr<InterruptLine> line,
                                                             EventLoop& loop) {
  std::unique_ptr<MmioTransport> transport(new MmioTransport(std::move(device), memory, std::move(line)));
  for (size_t queue = 0; queue < transport->queues_.size(); ++queue) {
    UniqueFd notify(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!notify.valid()) return Error{errno, "create eventfd"};
    HMVM_TRY_ASSIGN(notify, Place(fd_class::kEvents, std::move(notify)));
    HMVM_TRY_ASSIGN(Watch watch,
                    loop.OnReadable(notify.get(), [transport = transport.get(), queue]() -> Result<> {
                      transport->OnNotify(static_cast<uint16_t>(queue));
                      return {};
                    }));
    transport->notify_fds_.push_back(std::move(notify));
    transport->notify_watches_.push_back(std::move(watch));
  }
  return transport;
}

MmioTransport::MmioTransport(std::unique_ptr<VirtioDevice> device, const GuestMemory& memory,
                             std::unique_ptr<InterruptLine> line)
    : device_(std::move(device)),
      memory_(memory),
      line_(std::move(line)),
      queues_(device_->QueueSizes().size()) {}

MmioTransport::~MmioTransport() {
  // Requests in flight end before the guest memory they write to can go.
  std::lock_guard lock(device_->mutex());
  device_->Reset();
}

void MmioTransport::OnNotify(uint16_t queue) {
  const int notify_fd = notify_fds_[queue].get();
  eventfd_t count;
  ::eventfd_read(notify_fd, &count);  // fails only when another reader was faster: there is none
  std::lock_guard lock(device_->mutex());
  ++notifications_;
  if ((status_ & VIRTIO_CONFIG_S_NEEDS_RESET) != 0) return;
  if (device_->OnQueueNotify(queue)) ::eventfd_write(notify_fd, 1);
}

void MmioTransport::SignalUsed() {
  interrupts_.fetch_add(1, std::memory_order_relaxed);
  interrupt_status_.fetch_or(VIRTIO_MMIO_INT_VRING);
  line_->Trigger();
}

void MmioTransport::SignalConfig() {
  config_generation_.fetch_add(1);
  interrupts_.fetch_add(1, std::memory_order_relaxed);
  interrupt_status_.fetch_or(VIRTIO_MMIO_INT_CONFIG);
  line_->Trigger();
}

void MmioTransport::SetNeedsReset(const Error& why) {
  if ((status_ & VIRTIO_CONFIG_S_NEEDS_RESET) != 0) return;
  status_ |= VIRTIO_CONFIG_S_NEEDS_RESET;
  if (needs_reset_++ < kMaxLoggedResets) {
    LOG(WARNING) << "virtio device " << device_->Name() << " needs a reset: " << why.Message();
  }
  SignalConfig();
}

void MmioTransport::Read(uint64_t offset, std::span<std::byte> data) {
  if (offset >= VIRTIO_MMIO_CONFIG) {
    std::lock_guard lock(device_->mutex());
    device_->ReadConfig(offset - VIRTIO_MMIO_CONFIG, data);
    return;
  }
  std::ranges::fill(data, std::byte{0});
  uint32_t value = 0;
  // §4.2.2.2: the driver uses aligned accesses of 32 bits. Others read zero.
  if (offset % sizeof(value) != 0 || data.size() != sizeof(value)) return;
  if (offset == VIRTIO_MMIO_INTERRUPT_STATUS) {
    value = interrupt_status_.load();
  } else {
    std::lock_guard lock(device_->mutex());
    value = ReadRegister(offset);
  }
  std::memcpy(data.data(), &value, sizeof(value));
}

void MmioTransport::Write(uint64_t offset, std::span<const std::byte> data) {
  if (offset >= VIRTIO_MMIO_CONFIG) {
    std::lock_guard lock(device_->mutex());
    device_->WriteConfig(offset - VIRTIO_MMIO_CONFIG, data);
    return;
  }
  uint32_t value;
  if (offset % sizeof(value) != 0 || data.size() != sizeof(value)) return;
  std::memcpy(&value, data.data(), sizeof(value));
  if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
    interrupt_status_.fetch_and(~value);
  } else if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
    // Without VIRTIO_F_NOTIFICATION_DATA the value is the queue's index.
    if (value < notify_fds_.size()) ::eventfd_write(notify_fds_[value].get(), 1);
  } else {
    std::lock_guard lock(device_->mutex());
    WriteRegister(offset, value);
  }
}

uint32_t MmioTransport::ReadRegister(uint64_t offset) const {
  switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
      return kMagic;
    case VIRTIO_MMIO_VERSION:
      return kVersion;
    case VIRTIO_MMIO_DEVICE_ID:
      return device_->DeviceId();
    case VIRTIO_MMIO_VENDOR_ID:
      return kVendor;
    case VIRTIO_MMIO_DEVICE_FEATURES:
      return Half(device_->OfferedFeatures(), device_features_select_);
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
      return queue_select_ < queues_.size() ? device_->QueueSizes()[queue_select_] : 0;
    case VIRTIO_MMIO_QUEUE_READY:
      return queue_select_ < queues_.size() && queues_[queue_select_].ready ? 1 : 0;
    case VIRTIO_MMIO_STATUS:
      return status_;
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
    case VIRTIO_MMIO_SHM_BASE_LOW:
    case VIRTIO_MMIO_SHM_BASE_HIGH:
      return kNoSharedMemory;
    case VIRTIO_MMIO_CONFIG_GENERATION:
      return config_generation_.load();
    default:
      return 0;
  }
}

void MmioTransport::WriteRegister(uint64_t offset, uint32_t value) {
  switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
      device_features_select_ = value;
      return;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
      driver_features_select_ = value;
      return;
    case VIRTIO_MMIO_DRIVER_FEATURES:
      return WriteDriverFeatures(value);
    case VIRTIO_MMIO_QUEUE_SEL:
      queue_select_ = value;
      return;
    case VIRTIO_MMIO_STATUS:
      return WriteStatus(value);
    case VIRTIO_MMIO_SHM_SEL:
      return;
    default:
      return WriteQueueRegister(offset, value);
  }
}

void MmioTransport::WriteDriverFeatures(uint32_t value) {
  // §3.1.1: after DRIVER and before FEATURES_OK.
  const uint32_t stage = VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
  if ((status_ & stage) != VIRTIO_CONFIG_S_DRIVER) return Refuse();
  switch (driver_features_select_) {
    case 0:
      driver_features_ = (driver_features_ & ~0xffffffffull) | value;
      return;
    case 1:
      driver_features_ = (driver_features_ & 0xffffffffull) | static_cast<uint64_t>(value) << 32;
      return;
    default:
      if (value != 0) Refuse();
  }
}

void MmioTransport::WriteQueueRegister(uint64_t offset, uint32_t value) {
  // §3.1.1 step 7: queues are set up between FEATURES_OK and DRIVER_OK.
  const uint32_t stage = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
  if ((status_ & stage) != VIRTIO_CONFIG_S_FEATURES_OK || queue_select_ >= queues_.size()) return Refuse();
  QueueState& queue = queues_[queue_select_];
  // §4.2.2.2: a queue in use keeps its place.
  if (queue.ready && offset != VIRTIO_MMIO_QUEUE_READY) return Refuse();
  switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
      if (value > device_->QueueSizes()[queue_select_]) return Refuse();
      queue.size = static_cast<uint16_t>(value);
      return;
    case VIRTIO_MMIO_QUEUE_READY:
      queue.ready = (value & 1) != 0;
      return;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
      return SetLow(queue.descriptors, value);
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
      return SetHigh(queue.descriptors, value);
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
      return SetLow(queue.available, value);
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
      return SetHigh(queue.available, value);
    case VIRTIO_MMIO_QUEUE_USED_LOW:
      return SetLow(queue.used, value);
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
      return SetHigh(queue.used, value);
    default:
      Refuse();
  }
}

void MmioTransport::WriteStatus(uint32_t value) {
  if (value == 0) return Reset();
  // §2.1.1: the driver does not clear bits but by a reset; DEVICE_NEEDS_RESET is the device's.
  const uint32_t kept = status_ & ~VIRTIO_CONFIG_S_NEEDS_RESET;
  if ((value & kept) != kept) return Refuse();
  constexpr uint32_t kOrder[] = {VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER,
                                 VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER_OK};
  status_ |= value & VIRTIO_CONFIG_S_FAILED;
  for (const uint32_t bit : kOrder) {
    if ((status_ & bit) != 0) continue;
    if ((value & bit) == 0) break;
    // The driver reads the bit back to see whether we agree (§3.1.1 step 6).
    if (bit == VIRTIO_CONFIG_S_FEATURES_OK && !FeaturesAcceptable()) break;
    status_ |= bit;
    if (bit != VIRTIO_CONFIG_S_DRIVER_OK) continue;
    if (const auto activated = Activate(); !activated.has_value()) SetNeedsReset(activated.error());
  }
  // Features we do not take, or a step before its turn (§3.1.1).
  if ((value & ~status_ & ~VIRTIO_CONFIG_S_NEEDS_RESET) != 0) Refuse();
}

bool MmioTransport::FeaturesAcceptable() const {
  return (driver_features_ & ~device_->OfferedFeatures()) == 0 &&
         (driver_features_ >> VIRTIO_F_VERSION_1 & 1) != 0;
}

Result<> MmioTransport::Activate() {
  Activation activation{.queues = {}, .features = driver_features_, .interrupt = this};
  for (size_t index = 0; index < queues_.size(); ++index) {
    auto queue = Queue::Create(memory_, queues_[index], driver_features_);
    if (!queue.has_value()) return Wrap("queue " + std::to_string(index), queue.error());
    activation.queues.push_back(std::move(*queue));
  }
  return device_->Activate(std::move(activation));
}

void MmioTransport::Reset() {
  device_->Reset();
  status_ = 0;
  device_features_select_ = 0;
  driver_features_select_ = 0;
  driver_features_ = 0;
  queue_select_ = 0;
  std::ranges::fill(queues_, QueueState{});
  interrupt_status_.store(0);
  ++resets_;
}

Result<> MmioTransport::Save(snapshot::VirtioState* state) {
  std::lock_guard lock(device_->mutex());
  HMVM_TRY(device_->Drain());
  state->set_name(std::string(device_->Name()));
  state->set_device_id(device_->DeviceId());
  state->set_status(status_);
  state->set_device_features_select(device_features_select_);
  state->set_driver_features_select(driver_features_select_);
  state->set_driver_features(driver_features_);
  state->set_queue_select(queue_select_);
  const std::vector<QueueState> active = device_->QueueStates();
  for (size_t index = 0; index < queues_.size(); ++index) {
    // A queue that the driver does not use is known here alone.
    const QueueState& queue = index < active.size() && active[index].ready ? active[index] : queues_[index];
    snapshot::VirtqueueState* const saved = state->add_queues();
    saved->set_size(queue.size);
    saved->set_ready(queue.ready);
    saved->set_descriptors(queue.descriptors.value);
    saved->set_available(queue.available.value);
    saved->set_used(queue.used.value);
    saved->set_next_available(queue.next_available);
    saved->set_next_used(queue.next_used);
    saved->set_signalled_used(queue.signalled_used);
  }
  state->set_interrupt_status(interrupt_status_.load());
  state->set_config_generation(config_generation_.load());
  device_->Save(state);
  return {};
}

Result<> MmioTransport::Restore(const snapshot::VirtioState& state) {
  std::lock_guard lock(device_->mutex());
  HMVM_TRY(RestoreRegisters(state));
  const bool needs_reset = (status_ & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
  if ((status_ & VIRTIO_CONFIG_S_DRIVER_OK) != 0) {
    // What the driver broke, for which it was told to reset, stays broken.
    if (const auto activated = Activate(); !activated.has_value() && !needs_reset) return activated.error();
  }
  HMVM_TRY(device_->Restore(state));
  // An interrupt, a notification may have been on its way; one too many harms neither side.
  if (interrupt_status_.load() != 0) line_->Trigger();
  for (const UniqueFd& notify : notify_fds_) ::eventfd_write(notify.get(), 1);
  return {};
}

Result<> MmioTransport::RestoreRegisters(const snapshot::VirtioState& state) {
  if (state.device_id() != device_->DeviceId()) {
    return Error{EINVAL, "virtio device id " + std::to_string(state.device_id()) + " in place of " +
                             std::to_string(device_->DeviceId())};
  }
  if (static_cast<size_t>(state.queues_size()) != queues_.size()) {
    return Error{EINVAL, std::to_string(state.queues_size()) + " queues in place of " +
                             std::to_string(queues_.size())};
  }
  // The bits of the status come one after the other (§3.1.1), these two beside them.
  constexpr uint32_t kBeside = VIRTIO_CONFIG_S_FAILED | VIRTIO_CONFIG_S_NEEDS_RESET;
  constexpr uint32_t kSteps[] = {
      0, VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
      VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
      VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
          VIRTIO_CONFIG_S_DRIVER_OK};
  if (std::ranges::find(kSteps, state.status() & ~kBeside) == std::end(kSteps)) {
    return Error{EINVAL, "device status " + std::to_string(state.status())};
  }
  status_ = state.status();
  driver_features_ = state.driver_features();
  if ((status_ & VIRTIO_CONFIG_S_FEATURES_OK) != 0 && !FeaturesAcceptable()) {
    return Error{EINVAL, "the driver uses features that this device has not"};
  }
  for (size_t index = 0; index < queues_.size(); ++index) {
    const snapshot::VirtqueueState& saved = state.queues(static_cast<int>(index));
    if (saved.size() > device_->QueueSizes()[index]) return Error{EINVAL, "queue that is too large"};
    queues_[index] = {.size = static_cast<uint16_t>(saved.size()),
                      .ready = saved.ready(),
                      .descriptors = GuestAddress{saved.descriptors()},
                      .available = GuestAddress{saved.available()},
                      .used = GuestAddress{saved.used()},
                      .next_available = static_cast<uint16_t>(saved.next_available()),
                      .next_used = static_cast<uint16_t>(saved.next_used()),
                      .signalled_used = static_cast<uint16_t>(saved.signalled_used())};
  }
  device_features_select_ = state.device_features_select();
  driver_features_select_ = state.driver_features_select();
  queue_select_ = state.queue_select();
  interrupt_status_ = state.interrupt_status() & (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
  config_generation_ = state.config_generation();
  return {};
}

CounterList MmioTransport::Counters() const {
  CounterList counters;
  const auto add = [&](const std::string& name, uint64_t value) {
    counters.emplace_back(std::string(device_->Name()) + "." + name, value);
  };
  std::lock_guard lock(device_->mutex());
  for (const auto& [name, value] : device_->Counters()) add(name, value);
  add("notifications", notifications_);
  add("interrupts", interrupts_.load(std::memory_order_relaxed));
  add("resets", resets_);
  add("needs_reset", needs_reset_);
  add("refused_writes", refused_writes_);
  return counters;
}

}  // namespace hmvm
