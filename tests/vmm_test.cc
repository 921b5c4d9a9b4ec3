// The machine below a container: hmvm-vmm driven by its own API and the agent's.
#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <future>
#include <iterator>

#include "tests/support/container_fixture.h"
#include "tests/support/machine.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::HasSubstr;

class VmmTest : public GuestTest {
 protected:
  static Machine::Options Defaults() {
    Machine::Options options;
    options.vmm = VmmProgram();
    options.kernel = GuestKernel();
    options.initramfs = GuestInitramfs();
    options.console = sandbox_->dir() / "console";
    return options;
  }
  static Machine Boot(const Machine::Options& options) {
    Result<Machine> machine = Machine::Start(options);
    if (!machine.has_value()) throw std::runtime_error(machine.error().Message());  // the test fails with it
    return std::move(*machine);
  }
  static std::string ConsoleText() {
    std::ifstream file(sandbox_->dir() / "console", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static fs::path BusyboxErofs() {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(sandbox_->root() / "images")) {
      if (entry.path().extension() == ".erofs") return entry.path();
    }
    return {};
  }
  // Runs a shell line in a container that has all devices; the exit status, -1 for a failed call.
  static int RunOnDisk(Machine& machine, const std::string& line) {
    agent::v1::CreateContainerRequest create;
    create.mutable_rootfs()->set_upper_device("/dev/vdb");
    return RunIn(std::move(create), machine, line);
  }
  static int RunInMemory(Machine& machine, const std::string& line) {
    agent::v1::CreateContainerRequest create;
    create.mutable_rootfs()->set_upper_memory_bytes(0);
    return RunIn(std::move(create), machine, line);
  }
  static int RunIn(agent::v1::CreateContainerRequest create, Machine& machine, const std::string& line) {
    agent::v1::PersonaliseRequest identity;
    identity.set_entropy(std::string(32, 'e'));
    identity.set_hostname("guest");
    identity.set_machine_id(std::string(32, '0'));
    const auto personalised = machine.Agent<agent::v1::Empty>("Personalise", identity);
    if (!personalised.has_value()) {
      ADD_FAILURE() << personalised.error().Message();
      return -1;
    }
    create.set_container_id("c");
    create.mutable_rootfs()->set_lower_device("/dev/vda");
    create.set_all_devices(true);
    const auto created = machine.Agent<agent::v1::CreateContainerResponse>("CreateContainer", create);
    if (!created.has_value()) {
      ADD_FAILURE() << created.error().Message() << "\n" << ConsoleText();
      return -1;
    }
    agent::v1::StartProcessRequest start;
    start.set_container_id("c");
    for (const char* argument : {"sh", "-c", line.c_str()}) start.mutable_process()->add_args(argument);
    start.mutable_process()->set_cwd("/");
    start.mutable_process()->set_user("0");
    const auto started = machine.Agent<agent::v1::StartProcessResponse>("StartProcess", start);
    if (!started.has_value()) {
      ADD_FAILURE() << started.error().Message();
      return -1;
    }
    agent::v1::ProcessRequest process;
    process.set_container_id("c");
    const auto waited = machine.Agent<agent::v1::WaitProcessResponse>("WaitProcess", process);
    return waited.has_value() ? static_cast<int>(waited->exit_status()) : -1;
  }
};

TEST_F(VmmTest, BothApisDescribeTheMachineThatWasAskedFor) {
  Machine::Options options = Defaults();
  options.memory_mib = 192;
  Machine machine = Boot(options);

  const auto agent = machine.Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest());
  const auto vmm = machine.Control<vmm::v1::DescribeResponse>("Describe", vmm::v1::DescribeRequest());

  ASSERT_TRUE(agent.has_value()) << agent.error().Message() << "\n" << ConsoleText();
  EXPECT_EQ(agent->cpus(), 1u);
  EXPECT_GT(agent->memory_total_bytes(), 128u << 20);
  EXPECT_LE(agent->memory_total_bytes(), 192u << 20);
  EXPECT_THAT(agent->kernel_release(), testing::StartsWith("6."));
  ASSERT_TRUE(vmm.has_value()) << vmm.error().Message();
  EXPECT_EQ(vmm->memory_bytes(), 192u << 20);
  EXPECT_THAT(vmm->platform(), testing::AnyOf("ring3", "hardware"));
  EXPECT_GT(vmm->running_monotonic_ns(), vmm->started_monotonic_ns());
  EXPECT_THAT(vmm->counters(), testing::Contains(testing::Property(&vmm::v1::Counter::name, "kvm.exits")));
  EXPECT_EQ(machine.Stop(), 0);
}

TEST_F(VmmTest, PowerOffByTheGuestIsAGoodEnd) {
  Machine machine = Boot(Defaults());

  (void)machine.Agent<agent::v1::Empty>("PowerOff", agent::v1::Empty());

  EXPECT_EQ(machine.Wait(), 0) << ConsoleText();
}

TEST_F(VmmTest, TheEndOfTheControlChannelEndsTheMachine) {
  Machine machine = Boot(Defaults());
  ASSERT_TRUE(
      machine.Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest()).has_value());

  machine.CloseControl();

  EXPECT_EQ(machine.Wait(), 0);
}

TEST_F(VmmTest, APanicOfTheGuestIsReported) {
  Machine::Options options = Defaults();
  options.command_line = "rdinit=/nowhere";  // and no root file system either
  Machine machine = Boot(options);

  EXPECT_EQ(machine.Wait(), 3) << ConsoleText();
}

// At boot by the platform's early console, then by virtio's.
TEST_F(VmmTest, MessagesInPlentyOnTheConsoleAreAllThereAndTheAgentAnswersMeanwhile) {
  Machine::Options options = Defaults();
  options.disks = {"ro:" + BusyboxErofs().string()};
  options.command_line = "loglevel=8 ignore_loglevel printk.devkmsg=on";
  Machine machine = Boot(options);
  std::atomic<bool> done = false;
  auto asked = std::async(std::launch::async, [&]() -> Result<int> {
    int answers = 0;
    for (; !done; ++answers) {
      HMVM_TRY(machine.Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest()));
    }
    return answers;
  });

  const int status =
      RunInMemory(machine, "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo message $i; done > /dev/kmsg");
  done = true;

  const Result<int> answers = asked.get();
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(answers.has_value()) << answers.error().Message();
  EXPECT_GT(*answers, 10);
  const std::string text = ConsoleText();
  size_t at = text.find("Run /init as init process");  // printed at that level only
  int i = 0;
  while (at != std::string::npos && i < 3000) at = text.find("message " + std::to_string(++i), at);
  EXPECT_NE(at, std::string::npos) << "message " << i << " is missing";
  EXPECT_EQ(machine.Stop(), 0);
}

TEST_F(VmmTest, ADiskKeepsWhatWasWrittenAndFlushed) {
  const fs::path erofs = BusyboxErofs(), disk = sandbox_->dir() / "disk.ext4";
  ASSERT_FALSE(erofs.empty());
  std::ofstream(disk).flush();
  fs::resize_file(disk, 256 << 20);
  ASSERT_EQ(RunProgram({"mkfs.ext4", "-q", "-F", disk}).exit_code, 0);
  Machine::Options options = Defaults();
  options.memory_mib = 256;
  options.disks = {"ro:" + erofs.string(), "rw:" + disk.string()};
  {
    Machine machine = Boot(options);
    ASSERT_EQ(RunOnDisk(machine,
                        "head -c 100000000 /dev/urandom > /data && sync &&"
                        " sha256sum < /data > /sum && sync"),
              0);
    // Without a power-off: what was flushed must be there, what the guest's file system had open is its
    // matter.
    machine.Signal(SIGKILL);
    EXPECT_EQ(machine.Wait(), 137);
  }

  Machine machine = Boot(options);
  const int status = RunOnDisk(
      machine, "test \"$(sha256sum < /data)\" = \"$(cat /sum)\" && test $(wc -c < /data) = 100000000");
  (void)machine.Agent<agent::v1::Empty>("PowerOff", agent::v1::Empty());

  EXPECT_EQ(status, 0) << "the data differs from its checksum after a power cut";
  EXPECT_EQ(machine.Wait(), 0);
  const Outcome check = RunProgram({"e2fsck", "-f", "-n", disk});
  EXPECT_EQ(check.exit_code, 0) << Describe(check);
}

// A limit of a disk, a load that would go beyond it, and the counter that says how far it went.
struct DiskLimit {
  const char* name;
  double per_s;
  const char* load;
  const char* counter;
};
class DiskLimitTest : public VmmTest, public testing::WithParamInterface<DiskLimit> {};

constexpr DiskLimit kDiskLimits[] = {
    {"write_bps", 1 << 20, "dd if=/dev/zero of=/data bs=64k count=64 oflag=direct", "blk1.written_bytes"},
    {"read_bps", 1 << 20,
     "dd if=/dev/zero of=/data bs=64k count=64 && sync && dd if=/data of=/dev/null bs=64k iflag=direct",
     "blk1.read_bytes"},
    {"write_iops", 100, "dd if=/dev/zero of=/data bs=4k count=400 oflag=direct", "blk1.writes"},
    {"read_iops", 100,
     "dd if=/dev/zero of=/data bs=4k count=400 && sync && dd if=/data of=/dev/null bs=4k iflag=direct",
     "blk1.reads"}};
INSTANTIATE_TEST_SUITE_P(Kinds, DiskLimitTest, testing::ValuesIn(kDiskLimits),
                         [](const auto& info) { return std::string(info.param.name); });

// Of time only the limit's own side is judged: a slow machine does less, never more.
TEST_P(DiskLimitTest, HoldsWithinATenth) {
  const fs::path disk = sandbox_->dir() / "disk.ext4";
  std::ofstream(disk).flush();
  fs::resize_file(disk, 64 << 20);
  ASSERT_EQ(RunProgram({"mkfs.ext4", "-q", "-F", disk}).exit_code, 0);
  Machine::Options options = Defaults();
  options.disks = {"ro:" + BusyboxErofs().string(), "rw:" + disk.string()};
  options.io_limits =
      "vdb." + std::string(GetParam().name) + "=" + std::to_string(static_cast<int>(GetParam().per_s));
  const auto start = std::chrono::steady_clock::now();
  Machine machine = Boot(options);

  ASSERT_EQ(RunOnDisk(machine, GetParam().load), 0);

  const auto described = machine.Control<vmm::v1::DescribeResponse>("Describe", vmm::v1::DescribeRequest());
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(described.has_value()) << described.error().Message();
  double done = 0;
  for (const auto& counter : described->counters()) {
    if (counter.name() == GetParam().counter) done = static_cast<double>(counter.value());
  }
  EXPECT_GT(done, 3.9 * GetParam().per_s) << "the load is for four seconds";
  EXPECT_LE(done, 1.1 * GetParam().per_s * taken.count()) << "in " << taken.count() << " s";
  machine.Stop();
}

TEST_F(VmmTest, TheReadOnlyDiskOfAnImageIsNeverWritten) {
  const std::string before = RunProgram({"sha256sum", BusyboxErofs()}).out;

  EXPECT_EQ(RunContainer({}, {"sh", "-c", "rm -rf /bin/vi; echo x > /etc/passwd; sync"}).exit_code, 0);

  EXPECT_EQ(RunProgram({"sha256sum", BusyboxErofs()}).out, before);
}

TEST_F(VmmTest, WrongArgumentsAreOneLineAndExitCodeOne) {
  const Outcome outcome = RunProgram({VmmProgram(), "--kernel=/no/such/kernel", "--memory_mib=128"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/no/such/kernel"));
}

}  // namespace
}  // namespace hmvm::test
