#include "security/guard/guarded_vm.h"

#include <algorithm>
#include <cstring>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

namespace hmvm {
namespace {

constexpr uint32_t kRingBytes = 16 << 10;

// Whether some machine is under the policy in this slot.
bool InUse(const GuardMaps& maps, uint32_t slot) {
  auto vm = std::make_unique<guard_vm>();
  uint64_t key = 0;
  const uint64_t* before = nullptr;
  uint64_t at = 0;
  while (::bpf_map_get_next_key(maps.vms.get(), before, &key) == 0) {
    if (::bpf_map_lookup_elem(maps.vms.get(), &key, vm.get()) == 0 && vm->policy == slot) return true;
    at = key;
    before = &at;
  }
  return false;
}

// The slot that has the policy, now if not before. With the lock.
Result<uint32_t> SlotFor(const GuardMaps& maps, const guard_policy& policy) {
  auto there = std::make_unique<guard_policy>();
  std::optional<uint32_t> free;
  for (uint32_t slot = 0; slot < GUARD_POLICIES; ++slot) {
    if (::bpf_map_lookup_elem(maps.policies.get(), &slot, there.get()) < 0)
      return Error{errno, "read a policy"};
    if (std::memcmp(there.get(), &policy, sizeof(policy)) == 0) return slot;
    if (there->used != 0) continue;
    free = slot;
    break;  // they are filled in order
  }
  for (uint32_t slot = 0; !free.has_value() && slot < GUARD_POLICIES; ++slot) {
    if (!InUse(maps, slot)) free = slot;
  }
  if (!free.has_value()) {
    return Error{ENOSPC, "the guard has " + std::to_string(GUARD_POLICIES) + " policies in use, and no more"};
  }
  if (::bpf_map_update_elem(maps.policies.get(), &*free, &policy, BPF_ANY) < 0) {
    return Error{errno, "write a policy"};
  }
  return *free;
}

bool IsKnown(const GuardMaps& maps, uint64_t cgroup) {
  auto vm = std::make_unique<guard_vm>();
  return ::bpf_map_lookup_elem(maps.vms.get(), &cgroup, vm.get()) == 0;
}

}  // namespace

void GuardedVm::FreeRing::operator()(ring_buffer* ring) const { ::ring_buffer__free(ring); }

Result<std::unique_ptr<GuardedVm>> GuardedVm::Create(EventLoop& loop, Options options) {
  if (options.cgroup == 0) return Error{0, "the host has no cgroup hierarchy of version 2 mounted"};
  std::unique_ptr<GuardedVm> vm(new GuardedVm(std::move(options)));
  if (vm->options_.pins.Versions().empty()) HMVM_TRY(LoadGuard(vm->options_.pins));
  HMVM_TRY(vm->Register());
  HMVM_TRY(vm->OpenRing(loop));
  return vm;
}

Result<> GuardedVm::Register() {
  HMVM_TRY_ASSIGN(const std::unique_ptr<guard_policy> policy, CompileGuardPolicy(options_.rules));
  HMVM_TRY_ASSIGN(const UniqueFd lock, options_.pins.Lock(/*make=*/false));
  HMVM_TRY_ASSIGN(GuardMaps maps, GuardMaps::Open(options_.pins));
  maps_ = std::make_shared<const GuardMaps>(std::move(maps));
  auto vm = std::make_unique<guard_vm>();
  HMVM_TRY_ASSIGN(vm->policy, SlotFor(*maps_, *policy));
  vm->audit = options_.audit ? 1 : 0;
  options_.name.copy(vm->name, sizeof(vm->name));
  if (::bpf_map_update_elem(maps_->vms.get(), &options_.cgroup, vm.get(), BPF_ANY) < 0) {
    return Error{errno, "tell the guard of the machine"};
  }
  registered_ = true;
  return {};
}

Result<> GuardedVm::OpenRing(EventLoop& loop) {
  UniqueFd map(::bpf_map_create(BPF_MAP_TYPE_RINGBUF, "hmvm_events", 0, 0, kRingBytes, nullptr));
  if (!map.valid()) return Error{errno, "make a ring for the guard's events"};
  ring_map_ = std::make_shared<const UniqueFd>(std::move(map));
  const auto on_record = [](void* self, void* data, size_t size) {
    static_cast<GuardedVm*>(self)->OnRecord({static_cast<const std::byte*>(data), size});
    return 0;
  };
  ring_.reset(::ring_buffer__new(ring_map_->get(), on_record, this, nullptr));
  if (ring_ == nullptr) return Error{errno, "map a ring for the guard's events"};
  HMVM_TRY_ASSIGN(watch_, loop.OnReadable(::ring_buffer__epoll_fd(ring_.get()), [this]() -> Result<> {
    ::ring_buffer__consume(ring_.get());
    return {};
  }));
  // The kernel waits for all that might still use what was there before. What others have left is cleared
  // away by the same thread, more of it than this one will leave: after thousands have ended at once,
  // nobody's end is to wait for all of it.
  constexpr size_t kSwept = 8;
  auto install = [maps = maps_, ring = ring_map_, cgroup = options_.cgroup, pins = options_.pins] {
    const int fd = ring->get();
    if (IsKnown(*maps, cgroup)) ::bpf_map_update_elem(maps->rings.get(), &cgroup, &fd, BPF_ANY);
    SweepGuardRings(pins, kSwept);
  };
  if (options_.in_background) {
    options_.in_background(std::move(install));
  } else {
    install();
  }
  return {};
}

GuardedVm::~GuardedVm() {
  if (registered_) ::bpf_map_delete_elem(maps_->vms.get(), &options_.cgroup);
}

void GuardedVm::OnRecord(std::span<const std::byte> record) {
  auto event = DecodeGuardEvent(record);
  if (!event.has_value()) return;
  const bool breach = event->deed == "killed" || (options_.audit && event->deed == "noted");
  if (breach && !breach_.has_value()) breach_ = event;
  if (options_.on_event) options_.on_event(*event);
}

void GuardedVm::Drain() {
  if (ring_ != nullptr) ::ring_buffer__consume(ring_.get());
  if (breach_.has_value()) return;
  // The ring may not have been in place.
  auto vm = std::make_unique<guard_vm>();
  if (::bpf_map_lookup_elem(maps_->vms.get(), &options_.cgroup, vm.get()) < 0 || vm->breaches == 0) return;
  OnRecord(std::as_bytes(std::span(&vm->first, 1)));
}

}  // namespace hmvm
