#pragma once

#include <string>
#include <string_view>

namespace hmvm {

// Finds Ctrl-P Ctrl-Q in what is typed, in whatever pieces it comes. A Ctrl-P is held back until the next key
// says whether it was the first half.
class DetachKeys {
 public:
  struct Outcome {
    std::string bytes;      // to hand on
    bool detached = false;  // the sequence was typed; what followed it is dropped
  };
  Outcome Feed(std::string_view typed);

 private:
  bool held_ = false;
};

}  // namespace hmvm
