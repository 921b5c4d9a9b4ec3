// The command line and the supervisor as a user meets them, on a fake VMM whose "guest" runs processes on the
// host (fake_vmm.cc). What only a real guest can show is in tests/.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json_fwd.hpp>

#include "base/process.h"

namespace hmvm {

// With an installation and an image of its own; each test leaves no container behind.
class HmvmTest : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;
  void TearDown() override;

  static std::vector<std::string> Line(const std::vector<std::string>& arguments);
  // Standard output and error together, as with Shell(), which knows hmvm as $hmvm.
  static CommandResult Hmvm(const std::vector<std::string>& arguments);
  static std::string Must(const std::vector<std::string>& arguments);
  static CommandResult Shell(const std::string& line);
  // A guest kernel that does what its name says: vmlinux, refuse, panic, agentless, hang.
  static std::string Kernel(const char* mode) { return dir_ / "inst/share/hmvm" / mode; }
  static nlohmann::json Inspect(const std::string& name);
  // All that a container has been, in order: "created starting running".
  static std::string Statuses(const std::string& name);
  static void StartSleeper() { Must({"run", "-d", "--name", "c", "busybox", "sleep", "1000"}); }
  // A first line of output may be out before the state is written.
  static void WaitUntilStarted() { Shell("while $hmvm ps | grep -q Starting; do sleep 0.05; done"); }

  static std::filesystem::path dir_;
  static bool guard_before_;
};

}  // namespace hmvm
