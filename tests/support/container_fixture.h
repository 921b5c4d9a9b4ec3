// One container for many tests: booted before a test case's first test, removed after its last.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/sandbox.h"

namespace hmvm::test {

// Skips where no guest can be booted. Each test gets the sandbox with the busybox image.
class GuestTest : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;

  // `hmvm run --rm OPTIONS busybox COMMAND`.
  static Outcome RunContainer(std::vector<std::string> options, const std::vector<std::string>& command,
                              std::string_view input = {});

  static std::unique_ptr<Sandbox> sandbox_;
};

// A container "shared" of busybox that sleeps; tests use exec in it.
class ContainerTest : public GuestTest {
 protected:
  static void SetUpTestSuite();

  static Outcome Exec(const std::vector<std::string>& command, std::string_view input = {});
  static Outcome ExecWith(std::vector<std::string> options, const std::vector<std::string>& command,
                          std::string_view input = {});
  // The output of a shell line in the container, without its last newline; a failure of the test unless it is
  // true.
  static std::string Shell(const std::string& line);
};

}  // namespace hmvm::test
