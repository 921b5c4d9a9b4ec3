// What the ring3 platform leans on in a host's KVM, as one table: a row a behaviour, what it is for and what
// to say where it is missing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "vmm/kvm/host_finding.h"

namespace hmvm {

enum class Seen : uint8_t {
  kNotTried,  // the probe came to its end before
  kNo,
  kYes
};

// As the probe saw them, in the order of its steps.
struct Ring3Behaviours {
  Seen start = Seen::kNotTried;
  Seen syscall = Seen::kNotTried;
  Seen upper_half = Seen::kNotTried;
  Seen invalid_opcode = Seen::kNotTried;
  Seen divide_error = Seen::kNotTried;
  Seen general_protection = Seen::kNotTried;
  Seen page_fault = Seen::kNotTried;
  Seen single_step = Seen::kNotTried;
  Seen iret = Seen::kNotTried;
  Seen supervisor_pages = Seen::kNotTried;
  Seen read_only_pages = Seen::kNotTried;
  Seen no_execute = Seen::kNotTried;
  Seen break_gate = Seen::kNotTried;
  Seen table_updates = Seen::kNotTried;
  Seen accessed_dirty = Seen::kNotTried;
  Seen frames = Seen::kNotTried;
  Seen views = Seen::kNotTried;
  Seen segment_bases = Seen::kNotTried;
  Seen xcr0 = Seen::kNotTried;
  Seen exits = Seen::kNotTried;
  Seen vector_state = Seen::kNotTried;
  Seen mmio = Seen::kNotTried;
  Seen ioeventfd = Seen::kNotTried;
  Seen tsc = Seen::kNotTried;
  Seen kick = Seen::kNotTried;
  Seen end = Seen::kNotTried;
};

struct Ring3Need {
  Seen Ring3Behaviours::*behaviour;
  const char* name;
  const char* lack;     // follows "this host's KVM "
  const char* purpose;  // follows "needed for "
};
std::span<const Ring3Need> Ring3Needs();

bool AllSeen(const Ring3Behaviours& behaviours);

// A finding for each row. `missing`: the verdict of what was not seen.
std::vector<HostFinding> Ring3Findings(const Ring3Behaviours& behaviours, HostFinding::Verdict missing);

// "ring3: this host's KVM does not ...: needed for ...", of the first row not seen; "" when all were.
std::string Ring3Refusal(const Ring3Behaviours& behaviours);

}  // namespace hmvm
