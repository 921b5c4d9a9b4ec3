// vcpu_op and sched_op: bringing vCPUs up and down, where their data lies, waiting.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vmm/platform/ring3/hypercalls.h"

namespace hmvm::ring3 {

void WriteRunstate(const GuestAccess& access, uint64_t root, uint64_t area, const RunstateInfo& info) {
  RunstateInfo shown = info;
  shown.entry_time_ns |= kRunstateUpdate;
  constexpr uint64_t kEntryTime = offsetof(RunstateInfo, entry_time_ns);
  // Three writes in order: a reader that saw a piece of the second reads again. The CPU keeps the order of
  // stores; the compiler is to do so, too.
  if (!access.Write(root, area + kEntryTime, shown.entry_time_ns)) return;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  static_cast<void>(access.Write(root, area, shown));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  static_cast<void>(access.Write(root, area + kEntryTime, info.entry_time_ns));
}

int64_t Hypercalls::InitialiseVcpu(uint32_t vcpu, uint64_t argument) {
  VcpuContext context;
  if (!Read(argument, &context)) return -EFAULT;
  const auto state = StartStateOf(context, *parts_.memory, *parts_.window);
  return state.has_value() ? parts_.vcpus[vcpu].power.Initialise(*state) : -EINVAL;
}

int64_t Hypercalls::RegisterVcpuInfo(uint32_t vcpu, uint64_t argument) {
  VcpuInfoPlace request;
  if (!Read(argument, &request)) return -EFAULT;
  if (request.offset > kPageSize - sizeof(VcpuInfo) || request.offset % alignof(VcpuInfo) != 0 ||
      request.frame > UINT64_MAX / kPageSize) {
    return -EINVAL;
  }
  if (vcpu != vcpu_ && parts_.vcpus[vcpu].power.up()) return -EINVAL;
  const GuestAddress address{request.frame * kPageSize + request.offset};
  const auto host = parts_.memory->Slice(address, sizeof(VcpuInfo));
  if (!host.has_value()) return -EINVAL;
  // SAFETY: 64 bytes of guest RAM, aligned as checked; RAM stays where it is for the machine's life.
  auto* const info = reinterpret_cast<VcpuInfo*>(host->data());
  // By way of a copy: the new place may be the old one, or overlap it.
  VcpuInfo current;
  std::memcpy(&current, parts_.events->vcpu_info(vcpu), sizeof(current));
  // From here on not among the places that the VMM is known to write to.
  parts_.memory->MarkWritten(parts_.events->vcpu_info(vcpu), sizeof(current));
  std::memcpy(info, &current, sizeof(current));
  parts_.clock->Publish(&info->time);
  parts_.events->SetVcpuInfo(vcpu, info);
  parts_.window->cpu(vcpu).vcpu_info = kDirectMapBase + address.value;
  // An event sent meanwhile may have set its bits in the old place: let the guest look at all of them.
  info->pending_sel = ~uint64_t{0};
  info->upcall_pending = 1;
  return 0;
}

int64_t Hypercalls::RegisterRunstate(uint32_t vcpu, uint64_t argument) {
  uint64_t area;
  if (!Read(argument, &area)) return -EFAULT;
  parts_.vcpus[vcpu].runstate_area = area;
  if (area != 0) {
    WriteRunstate(access_, Root(), area, parts_.vcpus[vcpu].runstate.At(parts_.clock->NowNs()));
  }
  return 0;
}

int64_t Hypercalls::RegisterTimeArea(uint64_t argument) {
  uint64_t area;
  if (!Read(argument, &area)) return -EFAULT;
  const auto physical = access_.Translate(Root(), area);
  if (!physical.has_value()) return -EFAULT;
  const auto host = parts_.memory->Slice(*physical, sizeof(PvclockTime));
  if (!host.has_value() || physical->value % alignof(PvclockTime) != 0 ||
      physical->value % kPageSize > kPageSize - sizeof(PvclockTime)) {
    return -EINVAL;
  }
  // SAFETY: inside one page of guest RAM and aligned, as checked.
  parts_.clock->Publish(reinterpret_cast<PvclockTime*>(host->data()));
  return 0;
}

int64_t Hypercalls::SetSingleshotTimer(uint64_t argument) {
  SingleshotTimer timer;
  if (!Read(argument, &timer)) return -EFAULT;
  if ((timer.flags & kSingleshotFuture) != 0 && timer.deadline_ns <= parts_.clock->NowNs()) return -ETIME;
  parts_.threads->SetTimer(vcpu_, timer.deadline_ns);
  return 0;
}

int64_t Hypercalls::VcpuOperation(const Arguments& arguments) {
  if (arguments[1] >= parts_.vcpus.size()) return -ENOENT;
  const auto vcpu = static_cast<uint32_t>(arguments[1]);
  SharedVcpu& shared = parts_.vcpus[vcpu];
  switch (arguments[0]) {
    case kVcpuInitialise:
      return InitialiseVcpu(vcpu, arguments[2]);
    case kVcpuUp: {
      const int64_t result = shared.power.Up();
      if (result == 0) parts_.threads->Wake(vcpu);
      return result;
    }
    case kVcpuDown:
      // Its own thread finds out before it would enter the guest again.
      shared.power.Down();
      if (vcpu != vcpu_) parts_.threads->LeaveGuestMode(uint64_t{1} << vcpu);
      return 0;
    case kVcpuIsUp:
      return shared.power.up() ? 1 : 0;
    case kVcpuGetRunstate:
      return Write(arguments[2], shared.runstate.At(parts_.clock->NowNs())) ? 0 : -EFAULT;
    case kVcpuRegisterRunstate:
      return RegisterRunstate(vcpu, arguments[2]);
    case kVcpuSetPeriodicTimer:
    case kVcpuStopPeriodicTimer:
      return 0;  // Linux stops the periodic timer, which never ran, to use the other
    case kVcpuSetSingleshotTimer:
      return vcpu == vcpu_ ? SetSingleshotTimer(arguments[2]) : -EINVAL;
    case kVcpuStopSingleshotTimer:
      if (vcpu != vcpu_) return -EINVAL;
      parts_.threads->CancelTimer(vcpu_);
      return 0;
    case kVcpuRegisterInfo:
      return RegisterVcpuInfo(vcpu, arguments[2]);
    case kVcpuSendNmi:
      shared.nmi_pending = true;
      parts_.threads->Wake(vcpu);
      return 0;
    case kVcpuRegisterTimeArea:
      return RegisterTimeArea(arguments[2]);
    default:
      return -ENOSYS;
  }
}

int64_t Hypercalls::Poll(uint64_t argument) {
  SchedPoll poll;
  if (!Read(argument, &poll)) return -EFAULT;
  if (poll.count > kMostPolledPorts) return -EINVAL;
  std::array<uint32_t, kMostPolledPorts> ports;
  const std::span<uint32_t> polled = std::span(ports).first(poll.count);
  if (!access_.Read(Root(), poll.ports, std::as_writable_bytes(polled))) return -EFAULT;
  if (std::ranges::any_of(polled, [](uint32_t port) { return port >= kEventChannels; })) return -EINVAL;
  parts_.threads->WaitForPort(vcpu_, polled, poll.timeout_ns);
  return 0;
}

int64_t Hypercalls::Shutdown(uint64_t argument) {
  uint32_t reason;
  if (!Read(argument, &reason)) return -EFAULT;
  switch (reason) {
    case kShutdownPowerOff:
      end_ = MachineEnd::kPowerOff;
      return 0;
    case kShutdownReboot:
      end_ = MachineEnd::kReset;
      return 0;
    case kShutdownCrash:
      end_ = MachineEnd::kPanic;
      return 0;
    default:
      return -EINVAL;
  }
}

int64_t Hypercalls::SchedOperation(const Arguments& arguments) {
  switch (arguments[0]) {
    case kSchedYield:
      parts_.threads->Yield();
      return 0;
    case kSchedBlock:
      parts_.events->SetMasked(vcpu_, false);
      parts_.threads->WaitForEvent(vcpu_);
      return 0;
    case kSchedPoll:
      return Poll(arguments[1]);
    case kSchedShutdown:
      return Shutdown(arguments[1]);
    default:
      return -ENOSYS;
  }
}

}  // namespace hmvm::ring3
