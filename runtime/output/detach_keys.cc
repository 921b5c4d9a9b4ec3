#include "runtime/output/detach_keys.h"

namespace hmvm {

DetachKeys::Outcome DetachKeys::Feed(std::string_view typed) {
  constexpr char kCtrlP = 'P' & 0x1f;
  constexpr char kCtrlQ = 'Q' & 0x1f;
  Outcome outcome;
  for (const char key : typed) {
    if (held_ && key == kCtrlQ) {
      held_ = false;
      outcome.detached = true;
      return outcome;
    }
    if (held_) outcome.bytes += kCtrlP;
    held_ = key == kCtrlP;
    if (!held_) outcome.bytes += key;
  }
  return outcome;
}

}  // namespace hmvm
