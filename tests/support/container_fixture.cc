#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

std::vector<std::string> Joined(std::vector<std::string> front, const std::vector<std::string>& back) {
  front.insert(front.end(), back.begin(), back.end());
  return front;
}

}  // namespace

std::unique_ptr<Sandbox> GuestTest::sandbox_;

void GuestTest::SetUpTestSuite() {
  if (!WhyNoGuest().empty()) return;
  sandbox_ = std::make_unique<Sandbox>();
  sandbox_->ImportBusybox();
}

void GuestTest::TearDownTestSuite() { sandbox_.reset(); }

void GuestTest::SetUp() {
  if (const std::string why = WhyNoGuest(); !why.empty()) GTEST_SKIP() << "can't boot a guest: " << why;
}

Outcome GuestTest::RunContainer(std::vector<std::string> options, const std::vector<std::string>& command,
                                std::string_view input) {
  options.insert(options.begin(), {"run", "--rm"});
  options.push_back("busybox");
  return sandbox_->Hmvm(Joined(std::move(options), command), input);
}

void ContainerTest::SetUpTestSuite() {
  GuestTest::SetUpTestSuite();
  if (sandbox_ == nullptr) return;
  sandbox_->MustHmvm({"run", "-d", "--name", "shared", "busybox", "sleep", "1000000"});
}

Outcome ContainerTest::Exec(const std::vector<std::string>& command, std::string_view input) {
  return ExecWith({}, command, input);
}

Outcome ContainerTest::ExecWith(std::vector<std::string> options, const std::vector<std::string>& command,
                                std::string_view input) {
  options.insert(options.begin(), "exec");
  options.push_back("shared");
  return sandbox_->Hmvm(Joined(std::move(options), command), input);
}

std::string ContainerTest::Shell(const std::string& line) {
  Outcome outcome = Exec({"sh", "-c", line});
  EXPECT_EQ(outcome.exit_code, 0) << line << "\n" << Describe(outcome);
  if (outcome.out.ends_with('\n')) outcome.out.pop_back();
  return outcome.out;
}

}  // namespace hmvm::test
