#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/platform/ring3/cpuid.h"
#include "vmm/platform/ring3/vcpu_set.h"

namespace hmvm::ring3 {
namespace {

Result<> Membarrier(int command, const char* name) {
  if (::syscall(SYS_membarrier, command, 0, 0) < 0) return Error{errno, name};
  return {};
}

}  // namespace

Result<std::vector<Vcpu>> VcpuSet::CreateVcpus(const PlatformContext& context) {
  HMVM_TRY(Membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, "membarrier, which several vCPUs need"));
  HMVM_TRY_ASSIGN(std::vector<kvm_cpuid_entry2> cpuid, context.kvm->SupportedCpuid());
  DenySyscallTo32Bits(cpuid);
  std::vector<Vcpu> vcpus;
  for (uint32_t index = 0; index < context.vcpus; ++index) {
    HMVM_TRY_ASSIGN(Vcpu vcpu, context.vm->CreateVcpu(index));
    HMVM_TRY(vcpu.SetCpuid(cpuid));
    vcpus.push_back(std::move(vcpu));
  }
  return vcpus;
}

VcpuSet::VcpuSet(const PlatformContext& context, std::vector<Vcpu> vcpus, const Window* window,
                 const Clock* clock, EventChannels* events)
    : vcpus_(std::move(vcpus)) {
  const Hypercalls::Parts parts = {.memory = context.memory,
                                   .window = window,
                                   .clock = clock,
                                   .ports = context.ports,
                                   .events = events,
                                   .threads = this,
                                   .vcpus = std::span(shared_).first(vcpus_.size())};
  for (Vcpu& vcpu : vcpus_) runners_.emplace_back(context, parts, &vcpu);
}

void VcpuSet::Yield() { ::sched_yield(); }

// The signal keeps a vCPU from entering guest mode again before its thread has been out of KVM_RUN. That it
// has left guest mode is membarrier's doing: it interrupts each processor that runs one of our threads, and
// returns when all have been interrupted. No vCPU has to answer, so two may do this to each other, and one
// whose thread has no processor keeps nobody waiting.
void VcpuSet::LeaveGuestMode(uint64_t vcpus) {
  for (const VcpuRunner& runner : runners_) {
    if ((vcpus & 1) != 0) runner.Interrupt();
    vcpus >>= 1;
  }
  static_cast<void>(Membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, "membarrier"));
}

}  // namespace hmvm::ring3
