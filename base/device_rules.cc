#include "base/device_rules.h"

#include <cstddef>

namespace hmvm {
namespace {

constexpr uint32_t kAllAccess = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;

// What the program has in its registers. R1 is the context until all is read, then free.
constexpr uint8_t kResult = BPF_REG_0, kContext = BPF_REG_1, kScratch = BPF_REG_1;
constexpr uint8_t kType = BPF_REG_2, kAccess = BPF_REG_3, kMajor = BPF_REG_4, kMinor = BPF_REG_5;

class Builder {
 public:
  void Load(uint8_t to, size_t offset) {
    Add(BPF_LDX | BPF_MEM | BPF_W, to, kContext, static_cast<int16_t>(offset), 0);
  }
  void Copy(uint8_t to, uint8_t from) { Add(BPF_ALU | BPF_MOV | BPF_X, to, from, 0, 0); }
  void And(uint8_t value, uint32_t mask) {
    Add(BPF_ALU | BPF_AND | BPF_K, value, 0, 0, static_cast<int32_t>(mask));
  }
  void ShiftRight(uint8_t value, int32_t bits) { Add(BPF_ALU | BPF_RSH | BPF_K, value, 0, 0, bits); }
  void Return(int32_t result) {
    Add(BPF_ALU64 | BPF_MOV | BPF_K, kResult, 0, 0, result);
    Add(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  }
  // Where `value` is another, what follows is left out up to EndRule().
  void Require(uint8_t value, uint32_t equal) {
    open_.push_back(program_.size());
    Add(BPF_JMP | BPF_JNE | BPF_K, value, 0, 0, static_cast<int32_t>(equal));
  }
  void EndRule() {
    for (const size_t jump : open_) program_[jump].off = static_cast<int16_t>(program_.size() - jump - 1);
    open_.clear();
  }
  std::vector<bpf_insn> Take() { return std::move(program_); }

 private:
  void Add(uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t number) {
    bpf_insn instruction = {};
    instruction.code = code;
    instruction.dst_reg = to & 0xf;
    instruction.src_reg = from & 0xf;
    instruction.off = offset;
    instruction.imm = number;
    program_.push_back(instruction);
  }

  std::vector<bpf_insn> program_;
  std::vector<size_t> open_;
};

}  // namespace

std::vector<bpf_insn> MakeDeviceProgram(std::span<const DeviceRule> allowed) {
  Builder program;
  // The context's first word is the access, shifted, and the type.
  program.Load(kType, offsetof(bpf_cgroup_dev_ctx, access_type));
  program.Load(kMajor, offsetof(bpf_cgroup_dev_ctx, major));
  program.Load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor));
  program.Copy(kAccess, kType);
  program.ShiftRight(kAccess, 16);
  program.And(kType, 0xffff);
  for (const DeviceRule& rule : allowed) {
    program.Require(kType, rule.type);
    if (rule.major.has_value()) program.Require(kMajor, *rule.major);
    if (rule.minor.has_value()) program.Require(kMinor, *rule.minor);
    if (rule.access != kAllAccess) {
      program.Copy(kScratch, kAccess);
      program.And(kScratch, ~rule.access);
      program.Require(kScratch, 0);
    }
    program.Return(1);
    program.EndRule();
  }
  program.Return(0);
  return program.Take();
}

}  // namespace hmvm
