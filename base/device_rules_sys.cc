#include <sys/syscall.h>
#include <unistd.h>

#include "base/device_rules.h"

namespace hmvm {
namespace {

long Bpf(int command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof(attributes));
}

// SAFETY: bpf(2) takes addresses as numbers.
uint64_t Address(const void* place) { return reinterpret_cast<uint64_t>(place); }

}  // namespace

Result<UniqueFd> HoldToDeviceRules(int cgroup_directory, std::span<const DeviceRule> allowed) {
  const std::vector<bpf_insn> program = MakeDeviceProgram(allowed);
  const char license[] = "Apache-2.0";
  bpf_attr load = {};
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insn_cnt = static_cast<uint32_t>(program.size());
  load.insns = Address(program.data());
  load.license = Address(license);
  UniqueFd loaded(static_cast<int>(Bpf(BPF_PROG_LOAD, load)));
  if (!loaded.valid()) return Error{errno, "load the BPF program that keeps a cgroup from devices"};
  bpf_attr attach = {};
  attach.target_fd = static_cast<uint32_t>(cgroup_directory);
  attach.attach_bpf_fd = static_cast<uint32_t>(loaded.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (Bpf(BPF_PROG_ATTACH, attach) < 0) return Error{errno, "attach a BPF program to a cgroup"};
  return loaded;
}

Result<> LiftDeviceRules(int cgroup_directory, int program) {
  bpf_attr detach = {};
  detach.target_fd = static_cast<uint32_t>(cgroup_directory);
  detach.attach_bpf_fd = static_cast<uint32_t>(program);
  detach.attach_type = BPF_CGROUP_DEVICE;
  if (Bpf(BPF_PROG_DETACH, detach) < 0) return Error{errno, "detach a BPF program from a cgroup"};
  return {};
}

}  // namespace hmvm
