#include "vmm/kvm/describe.h"

#include <algorithm>
#include <cstdio>
#include <span>

namespace hmvm {
namespace {

constexpr uint64_t kInstructionBytes = 15;  // the longest there is
constexpr uint64_t kPageBytes = 4096;

struct Field {
  const char* name;
  uint64_t value;
};

std::string Line(std::span<const Field> fields) {
  std::string line;
  for (const Field& field : fields) {
    char text[32];
    std::snprintf(text, sizeof(text), "%s%s=%016llx", line.empty() ? "" : " ", field.name,
                  static_cast<unsigned long long>(field.value));
    line += text;
  }
  return line + "\n";
}

std::string GeneralRegisters(const kvm_regs& regs) {
  const Field fields[] = {{"rip", regs.rip}, {"rflags", regs.rflags}, {"rsp", regs.rsp}, {"rbp", regs.rbp},
                          {"rax", regs.rax}, {"rbx", regs.rbx},       {"rcx", regs.rcx}, {"rdx", regs.rdx},
                          {"rsi", regs.rsi}, {"rdi", regs.rdi},       {"r8", regs.r8},   {"r9", regs.r9},
                          {"r10", regs.r10}, {"r11", regs.r11},       {"r12", regs.r12}, {"r13", regs.r13},
                          {"r14", regs.r14}, {"r15", regs.r15}};
  const std::span all(fields);
  std::string text;
  for (size_t i = 0; i < all.size(); i += 6)
    text += Line(all.subspan(i, std::min<size_t>(6, all.size() - i)));
  return text;
}

std::string SystemRegisters(const kvm_sregs& sregs) {
  const Field control[] = {
      {"cr0", sregs.cr0}, {"cr2", sregs.cr2}, {"cr3", sregs.cr3}, {"cr4", sregs.cr4}, {"efer", sregs.efer}};
  const Field bases[] = {{"fs", sregs.fs.base},
                         {"gs", sregs.gs.base},
                         {"gdt", sregs.gdt.base},
                         {"idt", sregs.idt.base},
                         {"tr", sregs.tr.base}};
  char selectors[64];
  std::snprintf(selectors, sizeof(selectors), "cs=%04x ss=%04x cpl=%u\n", sregs.cs.selector,
                sregs.ss.selector, static_cast<unsigned>(sregs.ss.dpl));
  return Line(control) + "base " + Line(bases) + selectors;
}

std::string InstructionBytes(const Vcpu& vcpu, const GuestMemory& memory, uint64_t rip) {
  kvm_translation translation = {};
  translation.linear_address = rip;
  if (!vcpu.Ioctl(KVM_TRANSLATE, &translation, "KVM_TRANSLATE").has_value() || translation.valid == 0) {
    return "instruction bytes: the instruction pointer is not mapped\n";
  }
  const uint64_t physical = translation.physical_address;
  const uint64_t in_page = std::min(kInstructionBytes, kPageBytes - physical % kPageBytes);
  const auto bytes = memory.Slice(GuestAddress{physical}, in_page);
  if (!bytes.has_value()) return "instruction bytes: the instruction pointer is outside RAM\n";
  std::string text = "instruction bytes:";
  for (const std::byte byte : *bytes) {
    char hex[4];
    std::snprintf(hex, sizeof(hex), " %02x", std::to_integer<unsigned>(byte));
    text += hex;
  }
  return text + "\n";
}

}  // namespace

std::string DescribeVcpu(const Vcpu& vcpu, const GuestMemory& memory) {
  std::string text = "vCPU " + std::to_string(vcpu.index()) + "\n";
  const auto regs = vcpu.Regs();
  if (regs.has_value()) text += GeneralRegisters(*regs);
  if (const auto sregs = vcpu.Sregs(); sregs.has_value()) text += SystemRegisters(*sregs);
  if (regs.has_value()) text += InstructionBytes(vcpu, memory, regs->rip);
  text.pop_back();
  return text;
}

}  // namespace hmvm
