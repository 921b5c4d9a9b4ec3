// A container "origin" that counts and prints every number, to tell whether a copy of it goes on where it
// was.
#pragma once

#include <string>
#include <vector>

#include "tests/support/container_fixture.h"

namespace hmvm::test {

class CountingTest : public GuestTest {
 protected:
  void SetUp() override;
  // Nothing may be left but the sandbox's files.
  void TearDown() override;

  static std::vector<std::string> Lines(const std::string& text);
  // The number that a copy is at; 0: it says none.
  static int Count(const std::string& container);
  static bool Counts(const std::string& container);
  static std::string Status(const std::string& container);
  // Lines that no two copies may have in common: host name (twice), machine id, a UUID, random bytes.
  static std::string Identity(const std::string& container);
};

}  // namespace hmvm::test
