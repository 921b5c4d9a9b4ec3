// The tests' own look at what a container left.
#include <filesystem>
#include <stop_token>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;

class SandboxTest : public GuestTest {};

TEST_F(SandboxTest, FoldersThatGoWhileItLooksAreNoLeftovers) {
  const std::jthread supervisor([](const std::stop_token& end) {
    while (!end.stop_requested()) {
      fs::create_directories(sandbox_->run_root() / "container/below/further");
      fs::remove_all(sandbox_->run_root() / "container");
    }
  });

  for (int look = 0; look < 1000; ++look) EXPECT_THAT(sandbox_->Leftovers(), testing::IsEmpty());
}

TEST_F(SandboxTest, AFileBelowIsALeftover) {
  fs::create_directories(sandbox_->run_root() / "container/below");
  fs::create_directory_symlink("/nowhere", sandbox_->run_root() / "container/below/link");

  EXPECT_THAT(sandbox_->LeftoversNow(), testing::ElementsAre(testing::HasSubstr("container/below/link")));

  fs::remove_all(sandbox_->run_root() / "container");
}

}  // namespace
}  // namespace hmvm::test
