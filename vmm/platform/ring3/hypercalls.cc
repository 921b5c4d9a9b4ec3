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
    {kHypercallInterruptVcpus, "interrupt_vcpus", &Hypercalls::InterruptVcpus},
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
  Cpu& cpu = this->cpu();
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
  constexpr uint64_t kDebugStatus = 6, kDebugControl = 7;
  constexpr uint64_t kBreakpointsEnabled = 0xff;
  const uint64_t value = arguments[1];
  if (arguments[0] == kDebugStatus) debug_status_ = value;
  // This KVM loads no breakpoints for CPL 3, whichever way it is told of them. Our kernel asks for one at
  // boot and then refuses them to its programs; others learn by their not happening.
  if (arguments[0] == kDebugControl && (value & kBreakpointsEnabled) != 0) return -EOPNOTSUPP;
  return 0;
}

int64_t Hypercalls::GetDebugRegister(const Arguments& arguments) {
  constexpr uint64_t kDebugStatus = 6;
  return arguments[0] == kDebugStatus ? static_cast<int64_t>(debug_status_) : 0;
}

int64_t Hypercalls::WriteMemoryMap(uint64_t argument) {
  MemoryMap map;
  if (!Read(argument, &map)) return -EFAULT;
  const auto regions = parts_.memory->booted_regions();
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

int64_t Hypercalls::CallbackOperation(const Arguments& arguments) {
  if (arguments[0] != kCallbackRegister) return -ENOSYS;
  CallbackRegister request;
  if (!Read(arguments[1], &request)) return -EFAULT;
  Cpu& cpu = this->cpu();
  switch (request.type) {
    case kCallbackEvent:
      cpu.event_entry = request.address;
      return 0;
    case kCallbackSyscall:
      cpu.syscall_entry = request.address;
      return 0;
    case kCallbackNmi:
      cpu.traps[kNmi] = {request.address, kTrapMasksEvents};
      return 0;
    case kCallbackFailsafe:  // for segment registers that can't be loaded: none can
    case kCallbackSysenter:  // no 32-bit programs
    case kCallbackSyscall32:
      return 0;
    default:
      return -EINVAL;
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

int64_t Hypercalls::InterruptVcpus(const Arguments& arguments) {
  parts_.threads->LeaveGuestMode(arguments[0]);
  return 0;
}

}  // namespace hmvm::ring3
