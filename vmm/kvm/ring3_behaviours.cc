#include "vmm/kvm/ring3_behaviours.h"

#include <algorithm>

namespace hmvm {
namespace {

using B = Ring3Behaviours;

constexpr Ring3Need kNeeds[] = {
    {&B::start, "start", "does not take the state of a vCPU in ring 3", "a guest kernel that starts there"},
    {&B::syscall, "syscall", "does not run syscall on in ring 3, with rcx, r11 and the flags as documented",
     "system calls and hypercalls at native speed"},
    {&B::upper_half, "upper half", "does not let ring 3 use the upper half of the address space",
     "the guest kernel's and the monitor's addresses"},
    {&B::invalid_opcode, "#UD", "does not deliver ud2 from ring 3 to a ring-0 gate",
     "the monitor's calls to the VMM"},
    {&B::divide_error, "#DE", "does not deliver a division by zero in ring 3 to a ring-0 gate",
     "a program's SIGFPE"},
    {&B::general_protection, "#GP",
     "does not deliver privileged instructions, ports and wrong addresses of ring 3 as #GP to a ring-0 gate",
     "emulating what a guest kernel executes"},
    {&B::page_fault, "#PF", "does not deliver a page fault of ring 3 with its address to a ring-0 gate",
     "demand paging"},
    {&B::single_step, "#DB", "does not deliver a single step of ring 3 to a ring-0 gate", "debuggers"},
    {&B::iret, "iretq", "does not run iretq from ring 3 to ring 3", "returns to the guest kernel"},
    {&B::supervisor_pages, "supervisor pages",
     "does not keep ring 3 from reading, writing and executing supervisor pages",
     "keeping programs out of the monitor"},
    {&B::read_only_pages, "read-only pages", "does not keep ring 3 from writing to read-only pages",
     "copy on write"},
    {&B::no_execute, "no-execute", "does not honour the no-execute bit in entries of all four levels",
     "keeping data from being run"},
    {&B::break_gate, "int3 gate",
     "does not deliver int3 from ring 3 to a ring-0 gate, load cr3 there and return to ring 3",
     "system calls"},
    {&B::table_updates, "page-table updates", "does not honour a guest's changes to its page tables",
     "the guest's memory management"},
    {&B::accessed_dirty, "accessed and dirty bits", "does not set accessed and dirty bits",
     "the guest's memory management"},
    {&B::frames, "frames of two views",
     "does not push int3's frame to its interrupt stack, or takes iretq's frame from another root than the "
     "one loaded",
     "the way into the guest kernel and back"},
    {&B::views, "two views", "does not follow the IDT and the pages of another root",
     "separate page tables of kernel and programs"},
    {&B::segment_bases, "FSGSBASE",
     "does not run rdfsbase, wrfsbase, rdgsbase and wrgsbase in ring 3, or loses the bases",
     "the kernel's and each program's own fs and gs"},
    {&B::xcr0, "XCR0", "does not show ring 3 the XCR0 of the host", "saving the registers that programs use"},
    {&B::exits, "exits", "does not report a port write of a ring-0 gate with the vCPU's registers",
     "the VMM's part of hypercalls"},
    {&B::vector_state, "vector registers", "does not keep vector registers over exits and signals",
     "programs that use AVX"},
    {&B::mmio, "MMIO", "does not report loads and stores of ring 3 where no memory is", "device registers"},
    {&B::ioeventfd, "ioeventfd", "does not take stores of ring 3 for an ioeventfd", "device queues"},
    {&B::tsc, "TSC", "does not show ring 3 the host's TSC, at the rate that KVM_GET_TSC_KHZ says",
     "the guest's clocks"},
    {&B::kick, "kick", "does not leave KVM_RUN for a signal while ring 3 runs", "interrupts"},
    {&B::end, "end", "does not run the probe to its end", "anything that the probe does not look at"},
};

}  // namespace

std::span<const Ring3Need> Ring3Needs() { return kNeeds; }

bool AllSeen(const Ring3Behaviours& behaviours) {
  return std::ranges::all_of(kNeeds,
                             [&](const Ring3Need& need) { return behaviours.*need.behaviour == Seen::kYes; });
}

std::vector<HostFinding> Ring3Findings(const Ring3Behaviours& behaviours, HostFinding::Verdict missing) {
  std::vector<HostFinding> findings;
  for (const Ring3Need& need : kNeeds) {
    HostFinding finding = {.name = std::string("ring3: ") + need.name,
                           .value = "works",
                           .meaning = std::string("needed for ") + need.purpose};
    switch (behaviours.*need.behaviour) {
      case Seen::kYes:
        break;
      case Seen::kNo:
        finding.value = std::string("this host's KVM ") + need.lack;
        finding.verdict = missing;
        break;
      case Seen::kNotTried:
        finding.value = "not tried";
        finding.verdict = HostFinding::Verdict::kNote;
        break;
    }
    findings.push_back(std::move(finding));
  }
  return findings;
}

std::string Ring3Refusal(const Ring3Behaviours& behaviours) {
  const auto* const first = std::ranges::find_if(
      kNeeds, [&](const Ring3Need& need) { return behaviours.*need.behaviour != Seen::kYes; });
  if (first == std::end(kNeeds)) return "";
  return std::string("ring3: this host's KVM ") + first->lack + ": needed for " + first->purpose;
}

}  // namespace hmvm
