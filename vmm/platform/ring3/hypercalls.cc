#include "vmm/platform/ring3/hypercalls.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {
namespace {

constexpr uint16_t kSerialPort = 0x3f8;
constexpr uint64_t kVirtualStart = 0xffff800000000000;  // of the hypervisor's part of the address space

}  // namespace

const Hypercalls::Entry Hypercalls::kTable[] = {
    {kHypercallSetTrapTable, "set_trap_table", &Hypercalls::SetTrapTable},
    {kHypercallMmuUpdate, "mmu_update", nullptr},
    {kHypercallSetGdt, "set_gdt", nullptr},
    {kHypercallStackSwitch, "stack_switch", nullptr},
    {kHypercallFpuTaskswitch, "fpu_taskswitch", nullptr},
    {kHypercallSetDebugreg, "set_debugreg", &Hypercalls::SetDebugRegister},
    {kHypercallGetDebugreg, "get_debugreg", &Hypercalls::GetDebugRegister},
    {kHypercallUpdateDescriptor, "update_descriptor", nullptr},
    {kHypercallMemoryOp, "memory_op", &Hypercalls::MemoryOperation},
    {kHypercallMulticall, "multicall", nullptr},
    {kHypercallUpdateVaMapping, "update_va_mapping", nullptr},
    {kHypercallXenVersion, "xen_version", &Hypercalls::XenVersion},
    {kHypercallConsoleIo, "console_io", &Hypercalls::ConsoleIo},
    {kHypercallVmAssist, "vm_assist", &Hypercalls::VmAssist},
    {HYPERCALL_IRET, "iret", nullptr},
    {kHypercallVcpuOp, "vcpu_op", &Hypercalls::VcpuOperation},
    {kHypercallSetSegmentBase, "set_segment_base", nullptr},
    {kHypercallMmuextOp, "mmuext_op", nullptr},
    {kHypercallSchedOp, "sched_op", &Hypercalls::SchedOperation},
    {kHypercallCallbackOp, "callback_op", &Hypercalls::CallbackOperation},
    {kHypercallEventChannelOp, "event_channel_op", &Hypercalls::EventChannelOperation},
    {kHypercallPhysdevOp, "physdev_op", &Hypercalls::PhysdevOperation},
};

std::string_view Hypercalls::NameOf(uint64_t number) {
  const auto* const entry = std::ranges::find(kTable, number, &Entry::number);
  return entry == std::end(kTable) ? std::string_view() : entry->name;
}

int64_t Hypercalls::Call(uint64_t number, const Arguments& arguments) {
  const auto* const entry = std::ranges::find(kTable, number, &Entry::number);
  if (entry == std::end(kTable) || entry->handler == nullptr) return -ENOSYS;
  return (this->*entry->handler)(arguments);
}

int64_t Hypercalls::SetTrapTable(const Arguments& arguments) {
  Cpu& cpu = parts_.window->cpu(0);
  uint64_t address = arguments[0];
  if (address == 0) {
    std::ranges::fill(cpu.traps, Trap{});
    return 0;
  }
  // One entry a vector at the most, and the one that ends the table.
  constexpr int kMostEntries = 257;
  for (int i = 0; i < kMostEntries; ++i, address += sizeof(TrapInfo)) {
    TrapInfo trap;
    if (!Read(address, &trap)) return -EFAULT;
    if (trap.address == 0) return 0;
    if (trap.vector >= kVectors) continue;  // `int N`: the CPU raises another exception here
    cpu.traps[trap.vector] = {trap.address, uint64_t{trap.flags} & kTrapMasksEvents};
    constexpr uint8_t kPageFault = 14;
    if (trap.vector == kPageFault) cpu.page_fault_entry = trap.address;
  }
  return -EINVAL;
}

int64_t Hypercalls::SetDebugRegister(const Arguments& arguments) {
  constexpr uint64_t kDebugStatus = 6;
  if (arguments[0] == kDebugStatus) debug_status_ = arguments[1];
  return 0;  // DR0-3 and DR7: no hardware breakpoints, which Linux learns by their not happening
}

int64_t Hypercalls::GetDebugRegister(const Arguments& arguments) {
  constexpr uint64_t kDebugStatus = 6;
  return arguments[0] == kDebugStatus ? static_cast<int64_t>(debug_status_) : 0;
}

int64_t Hypercalls::WriteMemoryMap(uint64_t argument) {
  MemoryMap map;
  if (!Read(argument, &map)) return -EFAULT;
  const auto regions = parts_.memory->regions();
  if (map.entries < regions.size()) return -EINVAL;
  for (size_t i = 0; i < regions.size(); ++i) {
    const E820Entry entry = {regions[i].start.value, regions[i].host.size(), kE820Ram};
    if (!Write(map.buffer + i * sizeof(entry), entry)) return -EFAULT;
  }
  map.entries = static_cast<uint32_t>(regions.size());
  return Write(argument, map) ? 0 : -EFAULT;
}

int64_t Hypercalls::MemoryOperation(const Arguments& arguments) {
  switch (arguments[0]) {
    case kMemoryMap:
      return WriteMemoryMap(arguments[1]);
    case kMemoryMachphysMapping: {
      const MachphysMapping mapping = {Window::AddressOf(kM2pOffset),
                                       Window::AddressOf(parts_.window->page_types_offset()),
                                       parts_.window->frames() - 1};
      return Write(arguments[1], mapping) ? 0 : -EFAULT;
    }
    case kMemoryMaximumRamPage:
    case kMemoryCurrentReservation:
    case kMemoryMaximumReservation:
      return static_cast<int64_t>(parts_.window->frames());
    default:
      return -ENOSYS;
  }
}

int64_t Hypercalls::XenVersion(const Arguments& arguments) {
  switch (arguments[0]) {
    case kVersion:
      return kXenVersion;
    case kVersionExtra: {
      const char extra[16] = ".0-hmvm";
      return Write(arguments[1], extra) ? 0 : -EFAULT;
    }
    case kVersionPlatformParameters:
      return Write(arguments[1], kVirtualStart) ? 0 : -EFAULT;
    case kVersionGetFeatures: {
      FeatureInfo info;
      if (!Read(arguments[1], &info)) return -EFAULT;
      info.bits = 0;
      if (info.submap == 0) {
        info.bits = 1 << kFeatureWritablePageTables | 1 << kFeatureWritableDescriptorTables |
                    1 << kFeaturePaePgdirAbove4gb | 1 << kFeatureMmuPreserveAccessedDirty |
                    1 << kFeatureGnttabMapAvailBits;
      }
      return Write(arguments[1], info) ? 0 : -EFAULT;
    }
    case kVersionPageSize:
      return kPageSize;
    default:
      return -ENOSYS;
  }
}

int64_t Hypercalls::ConsoleIo(const Arguments& arguments) {
  if (arguments[0] != kConsoleWrite) return -ENOSYS;
  constexpr uint64_t kMostBytes = 4096;
  std::vector<std::byte> text(std::min(arguments[1], kMostBytes));
  if (!access_.Read(Root(), arguments[2], text)) return -EFAULT;
  // Early messages go where the hardware platform's go.
  for (const std::byte& byte : text) parts_.ports->Write(kSerialPort, std::span(&byte, 1));
  return static_cast<int64_t>(text.size());
}

int64_t Hypercalls::VmAssist(const Arguments& arguments) {
  return arguments[0] == kAssistEnable ? 0 : -EINVAL;  // what Linux enables is how it works here anyway
}

int64_t Hypercalls::RegisterVcpuInfo(uint64_t argument) {
  VcpuInfoPlace request;
  if (!Read(argument, &request)) return -EFAULT;
  if (request.offset > kPageSize - sizeof(VcpuInfo) || request.offset % alignof(VcpuInfo) != 0 ||
      request.frame >= parts_.window->frames()) {
    return -EINVAL;
  }
  const GuestAddress address{request.frame * kPageSize + request.offset};
  const auto host = parts_.memory->Slice(address, sizeof(VcpuInfo));
  if (!host.has_value()) return -EINVAL;
  // SAFETY: 64 bytes of guest RAM, aligned as checked; RAM stays where it is for the machine's life.
  auto* const info = reinterpret_cast<VcpuInfo*>(host->data());
  std::memcpy(info, parts_.events->vcpu_info(), sizeof(VcpuInfo));
  parts_.clock->Publish(&info->time);
  parts_.events->SetVcpuInfo(info);
  parts_.window->cpu(0).vcpu_info = kDirectMapBase + address.value;
  // An event sent meanwhile may have set its bits in the old place: let the guest look at all of them.
  info->pending_sel = ~uint64_t{0};
  info->upcall_pending = 1;
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
  parts_.timer->Set(timer.deadline_ns);
  return 0;
}

int64_t Hypercalls::VcpuOperation(const Arguments& arguments) {
  const uint64_t vcpu = arguments[1];
  if (vcpu != 0) return -ENOENT;
  switch (arguments[0]) {
    case kVcpuIsUp:
      return 1;
    case kVcpuRegisterRunstate:
    case kVcpuSetPeriodicTimer:
    case kVcpuStopPeriodicTimer:
      return 0;  // no time is stolen that we know of; Linux stops the periodic timer to use the other
    case kVcpuSetSingleshotTimer:
      return SetSingleshotTimer(arguments[2]);
    case kVcpuStopSingleshotTimer:
      parts_.timer->Cancel();
      return 0;
    case kVcpuRegisterInfo:
      return RegisterVcpuInfo(arguments[2]);
    case kVcpuRegisterTimeArea:
      return RegisterTimeArea(arguments[2]);
    default:
      return -ENOSYS;
  }
}

int64_t Hypercalls::SchedOperation(const Arguments& arguments) {
  switch (arguments[0]) {
    case kSchedYield:
      return 0;
    case kSchedBlock:
      parts_.events->SetMasked(false);
      parts_.idle->WaitForEvent();
      return 0;
    case kSchedShutdown: {
      uint32_t reason;
      if (!Read(arguments[1], &reason)) return -EFAULT;
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
    default:
      return -ENOSYS;
  }
}

int64_t Hypercalls::CallbackOperation(const Arguments& arguments) {
  if (arguments[0] != kCallbackRegister) return -ENOSYS;
  CallbackRegister request;
  if (!Read(arguments[1], &request)) return -EFAULT;
  Cpu& cpu = parts_.window->cpu(0);
  switch (request.type) {
    case kCallbackEvent:
      cpu.event_entry = request.address;
      return 0;
    case kCallbackSyscall:
      cpu.syscall_entry = request.address;
      return 0;
    case kCallbackFailsafe:  // for segment registers that can't be loaded: none can
    case kCallbackNmi:
    case kCallbackSysenter:  // no 32-bit programs
    case kCallbackSyscall32:
      return 0;
    default:
      return -EINVAL;
  }
}

int64_t Hypercalls::EventChannelOperation(const Arguments& arguments) {
  const uint64_t argument = arguments[1];
  switch (arguments[0]) {
    case kEventBindVirq: {
      BindVirq bind;
      if (!Read(argument, &bind)) return -EFAULT;
      const int64_t port = parts_.events->BindVirq(bind.virq, bind.vcpu);
      if (port < 0) return port;
      bind.port = static_cast<uint32_t>(port);
      return Write(argument, bind) ? 0 : -EFAULT;
    }
    case kEventBindIpi: {
      BindIpi bind;
      if (!Read(argument, &bind)) return -EFAULT;
      const int64_t port = parts_.events->BindIpi(bind.vcpu);
      if (port < 0) return port;
      bind.port = static_cast<uint32_t>(port);
      return Write(argument, bind) ? 0 : -EFAULT;
    }
    case kEventStatus: {
      EventStatus status;
      if (!Read(argument, &status)) return -EFAULT;
      if (status.domain != kDomainSelf && status.domain != 0) return -ESRCH;
      const int64_t result = parts_.events->Status(status.port, &status);
      if (result != 0) return result;
      return Write(argument, status) ? 0 : -EFAULT;
    }
    case kEventClose:
    case kEventSend:
    case kEventUnmask: {
      uint32_t port;
      if (!Read(argument, &port)) return -EFAULT;
      if (arguments[0] == kEventClose) return parts_.events->Close(port);
      if (!parts_.events->IsBound(port)) return -EINVAL;
      // The caller is the one vCPU there is: on its way back it sees what is pending.
      if (arguments[0] == kEventUnmask) {
        parts_.events->Unmask(port);
      } else if (parts_.events->IsIpi(port)) {
        parts_.events->Send(port);
      }
      return 0;
    }
    case kEventBindVcpu: {
      uint32_t request[2];  // port, vCPU
      if (!Read(argument, &request)) return -EFAULT;
      return request[1] == 0 && parts_.events->IsBound(request[0]) ? 0 : -EINVAL;
    }
    default:
      return -ENOSYS;  // the FIFO ABI too, whereupon Linux uses the two-level one
  }
}

int64_t Hypercalls::PhysdevOperation(const Arguments& arguments) {
  switch (arguments[0]) {
    case kPhysdevSetIopl:
    case kPhysdevSetIobitmap:
      return 0;  // port accesses are emulated for the kernel and refused to its users
    default:
      return -ENOSYS;
  }
}

}  // namespace hmvm::ring3
