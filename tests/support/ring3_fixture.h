// Machines on the ring3 platform, without a container: the VMM, our kernel, and a program as its first
// process.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/child.h"
#include "tests/support/sandbox.h"

namespace hmvm::test {

// Skips where the platform has no use or there is no kernel. Each test has a folder of its own.
class Ring3Test : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  struct Options {
    std::filesystem::path program;  // static
    int cpus = 1;
    int memory_mib = 64;
    std::string command_line = {};  // the kernel's, behind what quietens it
  };
  // The command line of the VMM. What fails is a failure of the test.
  std::vector<std::string> Machine(const Options& options) const;
  // Of the last machine.
  std::string Console() const;
  const std::filesystem::path& dir() const { return dir_; }

 private:
  std::filesystem::path dir_;
};

}  // namespace hmvm::test
