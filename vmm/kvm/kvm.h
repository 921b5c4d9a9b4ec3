// The KVM ioctls we use, typed. One class a KVM file descriptor: system, VM, vCPU
// (Documentation/virt/kvm/api.rst).
#pragma once

#include <asm/kvm.h>
#include <linux/kvm.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/kvm/kick_flag.h"

namespace hmvm {

class Vcpu;
class Vm;

// /dev/kvm.
class Kvm {
 public:
  // Opens `path`, or takes over "fd:N", and checks KVM_GET_API_VERSION. ENOENT and EACCES are the errors a
  // user can mend.
  static Result<Kvm> Open(const std::string& path = "/dev/kvm");

  // KVM_CHECK_EXTENSION: 0 when absent, else the capability's own number.
  int Capability(int capability) const;
  Result<std::vector<kvm_cpuid_entry2>> SupportedCpuid() const;
  // KVM_GET_MSR_INDEX_LIST: what there is to save of a vCPU's MSRs.
  Result<std::vector<uint32_t>> MsrIndices() const;
  Result<Vm> CreateVm() const;
  int fd() const { return fd_.get(); }

 private:
  Kvm(UniqueFd fd, size_t vcpu_mapping_bytes) : fd_(std::move(fd)), vcpu_mapping_bytes_(vcpu_mapping_bytes) {}

  UniqueFd fd_;
  size_t vcpu_mapping_bytes_;
};

class Vm {
 public:
  int fd() const { return fd_.get(); }
  int Capability(int capability) const;

  // KVM_SET_USER_MEMORY_REGION: guest-physical [address, +host.size()) is `host`, which must outlive the Vm.
  Result<> SetMemory(uint32_t slot, uint64_t address, std::span<std::byte> host, uint32_t flags = 0) const;
  // KVM_GET_DIRTY_LOG of a slot with KVM_MEM_LOG_DIRTY_PAGES: which pages the guest wrote to since the last
  // call, one bit each in `bits`, whole words for all pages of the slot; the log begins anew.
  Result<> CollectWritten(uint32_t slot, std::span<uint64_t> bits) const;
  Result<Vcpu> CreateVcpu(uint32_t index) const;

  // In-kernel PIC, IOAPIC and LAPICs, the PIT, and the pages Intel hosts need; before any vCPU.
  Result<> CreateIrqchip() const;
  // Each signal of `eventfd` injects an edge on `gsi`. Needs the irqchip.
  Result<> AddIrqfd(int eventfd, uint32_t gsi) const;
  // A guest store of the 32-bit value `data` at `address` signals `eventfd` instead of exiting.
  Result<> AddIoeventfd(int eventfd, uint64_t address, uint32_t data) const;

  // Any other VM ioctl; `name` goes into the error.
  Result<int> Ioctl(unsigned long request, void* argument, const char* name) const;

 private:
  friend class Kvm;
  Vm(UniqueFd fd, size_t vcpu_mapping_bytes) : fd_(std::move(fd)), vcpu_mapping_bytes_(vcpu_mapping_bytes) {}

  UniqueFd fd_;
  size_t vcpu_mapping_bytes_;
};

// One vCPU. All calls but Kick() and Signal() belong to the thread that runs it (or to any one thread before
// it runs).
class Vcpu {
 public:
  uint32_t index() const { return index_; }
  // The page shared with KVM; valid fields as KVM documents for the last exit. immediate_exit is
  // kick_flag()'s.
  kvm_run& run() const { return *reinterpret_cast<kvm_run*>(mapping_.data()); }
  KickFlag kick_flag() const { return KickFlag(run()); }

  // KVM_RUN. false: ended early by Kick() or a signal, no exit to handle. Errors: EFAULT and others, fatal.
  Result<bool> Run();

  // Makes a Run() in progress, or the next one, return false soon. Thread-safe, async-signal-safe.
  void Kick() const;
  // Ends a system call other than Run() that the thread waits in, if signals are let in there. Thread-safe.
  void Signal() const;
  // Declares the calling thread the one that Kick() must interrupt. Once, before the first Run().
  Result<> AttachThread();

  Result<kvm_regs> Regs() const;
  Result<> SetRegs(const kvm_regs& regs) const;
  Result<kvm_sregs> Sregs() const;
  Result<> SetSregs(const kvm_sregs& sregs) const;
  Result<kvm_vcpu_events> Events() const;
  Result<> SetEvents(const kvm_vcpu_events& events) const;
  Result<> SetCpuid(std::span<const kvm_cpuid_entry2> entries) const;
  Result<> SetMsrs(std::span<const kvm_msr_entry> entries) const;
  // Those of `indices` that this vCPU has.
  Result<std::vector<kvm_msr_entry>> Msrs(std::span<const uint32_t> indices) const;
  Result<> SetXcr0(uint64_t value) const;
  // The XSAVE area in the CPU's standard format, as large as this host's state is.
  Result<std::vector<std::byte>> Xsave() const;
  Result<> SetXsave(std::span<const std::byte> area) const;  // as Xsave() gave it

  // Any other vCPU ioctl; `name` goes into the error.
  Result<int> Ioctl(unsigned long request, void* argument, const char* name) const;

 private:
  friend class Vm;
  Vcpu(UniqueFd fd, Mapping mapping, uint32_t index, size_t xsave_bytes)
      : fd_(std::move(fd)), mapping_(std::move(mapping)), index_(index), xsave_bytes_(xsave_bytes) {}

  UniqueFd fd_;
  Mapping mapping_;
  uint32_t index_;
  size_t xsave_bytes_;
  std::unique_ptr<std::atomic<int>> thread_id_ = std::make_unique<std::atomic<int>>(0);
};

}  // namespace hmvm
