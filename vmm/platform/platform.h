// What the machine needs of a platform: a way to make a vCPU that runs a Linux guest on this kind of host.
// Two implement it: hardware (VT-x, AMD-V) and ring3 (hosts whose KVM emulates guest ring 0).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "vmm/devices/bus.h"
#include "vmm/devices/interrupt_line.h"
#include "vmm/kvm/kvm.h"
#include "vmm/memory/dirty_pages.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm {

// What to boot. The spans are the host's own files, mapped or read: kernel formats are checked by the loader
// all the same.
struct BootSource {
  std::span<const std::byte> kernel;  // vmlinux (ELF) or bzImage
  std::span<const std::byte> initrd;  // may be empty
  std::string command_line;           // the machine's whole command line but what the platform itself adds
};

// Why the machine ended.
enum class MachineEnd { kPowerOff, kReset, kPanic, kKvmError };

// What one turn of a vCPU came to. Everything that belongs to the platform (hypercalls, its own emulation)
// has been handled by then; MMIO and ports have gone to the buses.
struct VcpuTurn {
  enum class Kind {
    kContinue,     // run it again
    kInterrupted,  // a kick: look at what the machine wants, then run it again
    kEnded         // the guest ended or can't go on
  };
  Kind kind = Kind::kContinue;
  MachineEnd end = MachineEnd::kPowerOff;  // with kEnded
  std::string report;                      // with kEnded and an error: registers, bytes, reason
};

class Platform {
 public:
  virtual ~Platform() = default;
  virtual std::string_view Name() const = 0;
  virtual uint32_t MaxVcpus() const = 0;

  // The kernel's arguments for messages on the serial port until it has a virtio console.
  virtual std::string_view EarlyConsole() const = 0;

  // An interrupt for the virtio-mmio device in slot `slot` (0..31), and the number that the guest finds for
  // it behind "virtio_mmio.device=4K@ADDRESS:" (a GSI, or an event channel port). Before Load().
  struct DeviceInterrupt {
    uint32_t number;
    std::unique_ptr<InterruptLine> line;
  };
  virtual Result<DeviceInterrupt> AddDeviceInterrupt(uint32_t slot) = 0;

  // The interrupt of the serial port at 0x3f8, where the guest looks for one; else nullptr. Before Load().
  virtual Result<std::unique_ptr<InterruptLine>> AddSerialInterrupt() { return nullptr; }

  // Puts kernel, initrd, command line and the platform's tables into guest memory, and the vCPUs into the
  // state to start from. Once, from the thread that made the platform.
  virtual Result<> Load(const BootSource& source) = 0;

  // After Load(); their addresses stay.
  virtual std::span<Vcpu> vcpus() = 0;

  // KVM_RUN once and handle the exit. Called from the vCPU's own thread alone.
  virtual Result<VcpuTurn> RunOnce(Vcpu& vcpu) = 0;

  // Where the platform may write to at any time without GuestMemory::MarkWritten: RAM, or its own memory.
  // Thread-safe.
  virtual void AppendOwnWrites(OwnWrites& places) const { static_cast<void>(places); }

  // Finishes what the vCPU's last exit or interruption left under way in KVM, so that its registers and
  // memory say all. Called from the vCPU's own thread, before it is held; it may execute some more of the
  // guest.
  virtual Result<VcpuTurn> Settle(Vcpu& vcpu) = 0;

  // Guest-physical memory besides RAM that belongs to a snapshot.
  virtual std::span<const GuestMemory::Region> OwnMemory() const { return {}; }
  // vCPUs and what the platform itself keeps; after Load(), with all threads held. The error names what KVM
  // does not tell.
  virtual Result<> Save(snapshot::MachineState& state) const = 0;
  // In place of Load(), on a platform made with context.restored, when RAM and OwnMemory() are filled. A
  // state is as far to be believed as the guest's own words. It may have more vCPUs than the platform: those
  // must be off, and stay out of the guest's reach.
  virtual Result<> Restore(const snapshot::MachineState& state) = 0;

  // No vCPU has run for a while and soon they will: tells the guest, so that its watchdogs don't take the
  // pause for a hang. Its clocks went on, as the host's did.
  virtual void BeforeResume() = 0;

  // Name and value of each counter this platform keeps, for Describe. Thread-safe.
  virtual std::vector<std::pair<std::string, uint64_t>> Counters() const = 0;
};

// KVM memory slots below this are the RAM regions', added by the machine before it makes the platform; a
// platform's own begin here.
inline constexpr uint32_t kFirstPlatformMemorySlot = 8;

// What a platform is made of. All outlive it.
struct PlatformContext {
  const Kvm* kvm;
  Vm* vm;
  const GuestMemory* memory;
  const Bus* mmio;
  const Bus* ports;
  EventLoop* loop;        // of the device thread
  uint32_t vcpus;         // at least 1; the machine refuses more than MaxVcpus() before Load()
  uint32_t booted_vcpus;  // as many as the guest was booted with: more than `vcpus` in a restore with less
  bool emulated_ring0;    // what the host probe found: KVM interprets the guest's ring 0
  bool restored;          // Restore() comes in place of Load(): the platform's own memory is left to it
};

Result<std::unique_ptr<Platform>> CreateHardwarePlatform(const PlatformContext& context);
Result<std::unique_ptr<Platform>> CreateRing3Platform(const PlatformContext& context);

}  // namespace hmvm
