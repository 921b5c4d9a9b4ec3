#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <iterator>

#include "base/unique_fd.h"
#include "security/device_policy.h"

namespace hmvm {
namespace {

long Bpf(int command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof(attributes));
}

uint64_t Address(const void* place) { return reinterpret_cast<uint64_t>(place); }

}  // namespace

Result<> AllowNullDeviceOnly(int cgroup_directory) {
  constexpr uint32_t kNullMajor = 1, kNullMinor = 3;
  // r0 = 0; r2 = major; r3 = minor; if (r2 == 1 && r3 == 3) r0 = 1; return r0
  const bpf_insn program[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_LDX | BPF_MEM | BPF_W,
       .dst_reg = BPF_REG_2,
       .src_reg = BPF_REG_1,
       .off = offsetof(bpf_cgroup_dev_ctx, major),
       .imm = 0},
      {.code = BPF_LDX | BPF_MEM | BPF_W,
       .dst_reg = BPF_REG_3,
       .src_reg = BPF_REG_1,
       .off = offsetof(bpf_cgroup_dev_ctx, minor),
       .imm = 0},
      {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = BPF_REG_2, .src_reg = 0, .off = 2, .imm = kNullMajor},
      {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = BPF_REG_3, .src_reg = 0, .off = 1, .imm = kNullMinor},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 1},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  };
  const char license[] = "Apache-2.0";
  bpf_attr load = {};
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insn_cnt = std::size(program);
  load.insns = Address(program);
  load.license = Address(license);
  const UniqueFd loaded(static_cast<int>(Bpf(BPF_PROG_LOAD, load)));
  if (!loaded.valid()) return Error{errno, "load the BPF program that keeps a cgroup from devices"};
  bpf_attr attach = {};
  attach.target_fd = static_cast<uint32_t>(cgroup_directory);
  attach.attach_bpf_fd = static_cast<uint32_t>(loaded.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (Bpf(BPF_PROG_ATTACH, attach) < 0) return Error{errno, "attach a BPF program to a cgroup"};
  return {};
}

}  // namespace hmvm
