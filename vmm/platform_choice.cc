#include "vmm/platform_choice.h"

namespace hmvm {

Result<PlatformChoice> DecidePlatform(PlatformChoice wish, const HostProbe& probe) {
  if (wish == PlatformChoice::kAuto) {
    const std::string best = probe.BestPlatform();
    if (best.empty()) {
      return Error{0, "no platform runs on this host, see 'hmvm check': " + probe.ring3_refusal};
    }
    return best == "hardware" ? PlatformChoice::kHardware : PlatformChoice::kRing3;
  }
  if (wish == PlatformChoice::kRing3 && !probe.ring3_usable) return Error{0, probe.ring3_refusal};
  return wish;
}

}  // namespace hmvm
