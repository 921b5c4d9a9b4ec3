#pragma once

namespace hmvm {

// Injects one interrupt; edge, thread-safe.
class InterruptLine {
 public:
  virtual ~InterruptLine() = default;
  virtual void Trigger() = 0;
};

}  // namespace hmvm
