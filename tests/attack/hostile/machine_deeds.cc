// KVM, and the machine below it.
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "tests/attack/hostile/deeds.h"

namespace hmvm::test {
namespace {

std::string Both(const std::function<std::string()>& first, const std::function<std::string()>& second) {
  const std::string why = first();
  return why.empty() ? second() : why;
}

}  // namespace

const Deeds& MachineDeeds() {
  using T = const HostileTargets&;
  static const Deeds deeds = {
      {"open-kvm", [](T) { return Call(SYS_openat, AT_FDCWD, "/dev/kvm", O_RDWR); }},
      {"create-vm", [](T) { return Call(SYS_ioctl, kKvm, KVM_CREATE_VM, 0); }},
      {"memory-region",
       [](T) {
         const kvm_userspace_memory_region region = {};
         return Call(SYS_ioctl, kVm, KVM_SET_USER_MEMORY_REGION, &region);
       }},
      {"run-vm", [](T) { return Call(SYS_ioctl, kVm, KVM_RUN, 0); }},
      {"memory-region-vcpu",
       [](T) {
         const kvm_userspace_memory_region region = {};
         return Call(SYS_ioctl, kVcpu, KVM_SET_USER_MEMORY_REGION, &region);
       }},
      {"ioctl-agent", [](T) { return Call(SYS_ioctl, kAgent, KVM_RUN, 0); }},
      {"ioctl-console", [](T) { return Call(SYS_ioctl, STDERR_FILENO, TIOCSTI, "x"); }},
      {"ioctl-disk", [](T) { return Call(SYS_ioctl, kReadOnlyDisk, FIFREEZE, 0); }},
      {"iopl", [](T) { return Call(SYS_iopl, 3); }},
      {"ioperm", [](T) { return Call(SYS_ioperm, 0x80, 1, 1); }},
      {"kernel-memory",
       [](T) {
         return Both([] { return Call(SYS_openat, AT_FDCWD, "/dev/mem", O_RDONLY); },
                     [] { return Call(SYS_openat, AT_FDCWD, "/proc/kcore", O_RDONLY); });
       }},
  };
  return deeds;
}

}  // namespace hmvm::test
