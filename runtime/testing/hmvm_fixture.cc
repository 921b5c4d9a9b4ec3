#include "runtime/testing/hmvm_fixture.h"

#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <system_error>

#include <nlohmann/json.hpp>

namespace hmvm {

namespace fs = std::filesystem;

fs::path HmvmTest::dir_;
bool HmvmTest::guard_before_ = fs::exists("/sys/fs/bpf/hmvm");

void HmvmTest::SetUpTestSuite() {
  std::string name = testing::TempDir() + "hmvm_cli_XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  dir_ = name;
  // The program finds its VMM and guest relative to itself.
  for (const char* part : {"inst/bin", "inst/libexec/hmvm", "inst/share/hmvm"})
    fs::create_directories(dir_ / part);
  fs::copy_file(HMVM_PROGRAM, dir_ / "inst/bin/hmvm");
  fs::copy_file(HMVM_FAKE_VMM, dir_ / "inst/libexec/hmvm/hmvm-vmm");
  fs::copy_file(HMVM_IMPORT, dir_ / "inst/libexec/hmvm/hmvm-import");
  for (const char* mode : {"vmlinux", "refuse", "panic", "agentless", "hang"})
    std::ofstream(dir_ / "inst/share/hmvm" / mode) << mode;
  std::ofstream(dir_ / "inst/share/hmvm/initramfs.cpio") << "x";
  const auto layout = RunCommand({HMVM_MAKE_BUSYBOX, "-o", dir_});
  ASSERT_TRUE(layout.has_value() && layout->exit_code == 0) << layout->output;
  Must({"image", "import", "--name", "busybox", dir_ / "busybox"});
}

void HmvmTest::TearDownTestSuite() {
  if (!guard_before_) Hmvm({"guard", "unload"});
  fs::remove_all(dir_);
}

void HmvmTest::SetUp() {
  if (::access("/dev/kvm", R_OK | W_OK) != 0)
    GTEST_SKIP() << "run looks for /dev/kvm first, and it is not here";
}

void HmvmTest::TearDown() {
  std::error_code absent;  // a test may end before its first container is made
  for (const fs::directory_entry& entry : fs::directory_iterator(dir_ / "root/containers", absent)) {
    Hmvm({"rm", "-f", entry.path().filename()});
  }
  // `run --rm` does not wait for the end of its machine.
  constexpr int kTries = 500;
  const auto is_empty = [&] {
    return fs::directory_iterator(dir_ / "run", absent) == fs::directory_iterator();
  };
  for (int tries = 0; tries < kTries && !is_empty(); ++tries) ::usleep(10'000);
  EXPECT_TRUE(is_empty());
}

std::vector<std::string> HmvmTest::Line(const std::vector<std::string>& arguments) {
  std::vector<std::string> line = {dir_ / "inst/bin/hmvm", "--root", dir_ / "root", "--run-root",
                                   dir_ / "run"};
  line.insert(line.end(), arguments.begin(), arguments.end());
  return line;
}

CommandResult HmvmTest::Hmvm(const std::vector<std::string>& arguments) {
  return *RunCommand(Line(arguments));
}

std::string HmvmTest::Must(const std::vector<std::string>& arguments) {
  const CommandResult result = Hmvm(arguments);
  EXPECT_EQ(result.exit_code, 0) << arguments[0] << ": " << result.output;
  return result.output;
}

CommandResult HmvmTest::Shell(const std::string& line) {
  std::string hmvm;
  for (const std::string& word : Line({})) hmvm += word + " ";
  return *RunCommand({"/bin/sh", "-c", "hmvm='" + hmvm + "'; " + line});
}

nlohmann::json HmvmTest::Inspect(const std::string& name) {
  return nlohmann::json::parse(Must({"inspect", name}))[0];
}

std::string HmvmTest::Statuses(const std::string& name) {
  std::string statuses;
  const nlohmann::json inspected = Inspect(name);
  for (const auto& event : inspected["events"]) {
    statuses += (statuses.empty() ? "" : " ") + event["status"].get<std::string>();
  }
  return statuses;
}

}  // namespace hmvm
