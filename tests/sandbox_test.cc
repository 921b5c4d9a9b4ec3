// The tests' own look at what a container left.
#include "tests/support/sandbox.h"

#include <filesystem>
#include <stop_token>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;

class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoGuest(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_F(SandboxTest, FoldersThatGoWhileItLooksAreNoLeftovers) {
  const Sandbox sandbox;
  const std::jthread supervisor([&](const std::stop_token& end) {
    while (!end.stop_requested()) {
      fs::create_directories(sandbox.run_root() / "container/below/further");
      fs::remove_all(sandbox.run_root() / "container");
    }
  });

  for (int look = 0; look < 1000; ++look) EXPECT_THAT(sandbox.Leftovers(), testing::IsEmpty());
}

TEST_F(SandboxTest, AFileBelowIsALeftover) {
  const Sandbox sandbox;
  fs::create_directories(sandbox.run_root() / "container/below");
  fs::create_directory_symlink("/nowhere", sandbox.run_root() / "container/below/link");

  EXPECT_THAT(sandbox.LeftoversNow(), testing::ElementsAre(testing::HasSubstr("container/below/link")));
}

}  // namespace
}  // namespace hmvm::test
