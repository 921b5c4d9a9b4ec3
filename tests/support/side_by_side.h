// One Debian, in guests and under runc: what programs say in both shall be the same, byte for byte.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/sandbox.h"

namespace hmvm::test {

class SideBySide {
 public:
  // Why it can't be had here, for GTEST_SKIP; empty: it can.
  static std::string WhyNot();

  SideBySide() = default;
  ~SideBySide();
  SideBySide(const SideBySide&) = delete;
  SideBySide& operator=(const SideBySide&) = delete;

  // Makes make-debian's `image` and starts it under runc. What fails is a failure of the test, here and
  // below.
  void StartRunc(const std::string& image);
  // Starts that image in a container of hmvm's; `options` are those of `hmvm run`.
  void StartGuest(const std::string& name, const std::vector<std::string>& options);

  // Run a command to its end with `input` as its standard input.
  Outcome InGuest(const std::string& name, const std::vector<std::string>& command,
                  std::string_view input = {}) const;
  Outcome UnderRunc(const std::vector<std::string>& command, std::string_view input = {}) const;

 private:
  std::vector<std::string> Runc(std::vector<std::string> arguments) const;
  std::string RuncId() const;

  Sandbox sandbox_;
};

}  // namespace hmvm::test
