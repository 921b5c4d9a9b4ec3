#pragma once

#include <string>

#include "vmm/kvm/host_probe.h"

namespace hmvm {

// What `hmvm-vmm --probe` prints: {"platform": the one that `auto` takes, or "", "findings": [{"name",
// "value", "meaning", "verdict": "ok" | "note" | "missing"}]}, one line.
std::string ProbeReport(const HostProbe& probe);

}  // namespace hmvm
