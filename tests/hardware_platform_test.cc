// The platform of hardware hosts, booted where this host emulates ring 0: slowly, with a kernel patched for
// that, so that the path most users take is never broken unseen.
#include "tests/support/container_fixture.h"
#include "tests/support/machine.h"

namespace hmvm::test {
namespace {

TEST(HardwarePlatformTest, BootsToTheAgentsAnswer) {
  if (const std::string why = WhyNoGuest(); !why.empty()) GTEST_SKIP() << "can't boot a guest: " << why;
  const Outcome build = RunProgram({SourceDir() / "guest/kernel/build", "--variant", "emulated-ring0-test"},
                                   "", kBuildPatienceMs);
  ASSERT_EQ(build.exit_code, 0) << Describe(build);
  const std::string kernel_dir = build.out.substr(0, build.out.find('\n'));
  Machine::Options options;
  options.vmm = VmmProgram();
  options.kernel = kernel_dir + "/vmlinux";
  options.initramfs = GuestInitramfs();
  options.platform = "hardware";
  options.command_line =
      "mitigations=off rodata=off cgroup.memory=nokmem";  // what ring 0 can't do, or too slowly
  Result<Machine> machine = Machine::Start(options);
  ASSERT_TRUE(machine.has_value()) << machine.error().Message();

  const auto agent = machine->Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest());
  const auto vmm = machine->Control<vmm::v1::DescribeResponse>("Describe", vmm::v1::DescribeRequest());

  ASSERT_TRUE(agent.has_value()) << agent.error().Message();
  EXPECT_EQ(agent->cpus(), 1u);
  ASSERT_TRUE(vmm.has_value()) << vmm.error().Message();
  EXPECT_EQ(vmm->platform(), "hardware");
  EXPECT_EQ(machine->Stop(), 0);
}

}  // namespace
}  // namespace hmvm::test
