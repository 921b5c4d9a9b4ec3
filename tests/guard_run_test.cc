// Containers under the guard, as a user meets it.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "security/cgroup.h"
#include "security/guard/guard.h"
#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class GuardRunTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    const auto layers = ProbeGuard();
    if (!layers.front().active) GTEST_SKIP() << "no guard can be loaded here: " << layers.front().why;
    if (FindCgroup2().empty()) GTEST_SKIP() << "no cgroup hierarchy of version 2 is mounted";
  }
  void TearDown() override {
    if (sandbox_ == nullptr) return;
    (void)sandbox_->Hmvm({"rm", "-f", "c"});
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }

  static json Inspect() { return json::parse(sandbox_->MustHmvm({"inspect", "c"}))[0]; }
  static std::string CgroupOfVmm() {
    std::ifstream file("/proc/" + std::to_string(Inspect()["vmm_pid"].get<int>()) + "/cgroup");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("0::")) return FindCgroup2() + line.substr(3);
    }
    return "";
  }
  // A process beside the VMM, which does what no VMM may; its wait status.
  static int MisbehaveIn(const std::string& cgroup) {
    const UniqueFd procs = *OpenFile(cgroup + "/cgroup.procs", O_WRONLY);
    const pid_t child = ::fork();
    if (child == 0) {
      if (::write(procs.get(), "0", 1) != 1) ::_exit(99);
      ::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  }
  // A host of which hmvm sees no BTF and no guard that others have loaded.
  static Outcome RunWithoutBtf(const std::vector<std::string>& options) {
    std::vector<std::string> arguments = {"run", "--rm"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {"busybox", "echo", "up"});
    std::vector<std::string> command = {"unshare",
                                        "-m",
                                        "sh",
                                        "-c",
                                        "mount -t bpf bpf /sys/fs/bpf && "
                                        "mount --bind /dev/null /sys/kernel/btf/vmlinux && exec \"$@\"",
                                        "sh"};
    const auto hmvm = sandbox_->Command(arguments);
    command.insert(command.end(), hmvm.begin(), hmvm.end());
    return RunProgram(command);
  }
};

TEST_F(GuardRunTest, AMachineRunsUnderGuardAndItsCallsAreCounted) {
  sandbox_->MustHmvm({"run", "-d", "--require-guard", "--name", "c", "busybox", "sleep", "1000"});

  const json guard = Inspect()["guard"];

  ASSERT_TRUE(guard.is_object());
  EXPECT_EQ(guard["container"], Inspect()["id"]);
  EXPECT_EQ(guard["state"], "sealed");
  EXPECT_EQ(guard["breaches"], 0);
  EXPECT_GT(guard["calls"]["ioctl"], 0);
  EXPECT_THAT(guard["layers"], Contains("system-calls"));
  const json status = json::parse(sandbox_->MustHmvm({"guard", "status", "--format", "json"}));
  EXPECT_TRUE(status["loaded"]);
  EXPECT_TRUE(status["current"]);
  EXPECT_THAT(sandbox_->MustHmvm({"guard", "status"}),
              HasSubstr(Inspect()["id"].get<std::string>().substr(0, 12)));
}

// By the kernel, outside the VMM: it agrees with what the VMM says of itself.
TEST_F(GuardRunTest, ExitsAreCountedByReason) {
  sandbox_->MustHmvm({"guard", "load"});  // of this version, as another may count otherwise
  sandbox_->MustHmvm({"run", "-d", "--name", "c", "busybox", "sleep", "1000"});
  EXPECT_EQ(sandbox_->MustHmvm({"exec", "c", "echo", "up"}), "up");
  sandbox_->MustHmvm({"pause", "c"});

  const json inspected = Inspect();
  const json& exits = inspected["guard"]["exits_to_vmm"];
  const json& said = inspected["counters"];
  if (std::ranges::none_of(ProbeGuard(),
                           [](const auto& layer) { return layer.name == "kvm" && layer.active; })) {
    GTEST_SKIP() << "no tracepoint kvm_userspace_exit";
  }
  EXPECT_GT(exits["io"], 0);
  EXPECT_GT(exits["mmio"], 0);
  if (said.contains("exits.hypercall")) {  // ring3
    EXPECT_EQ(exits["io"], said["exits.hypercall"].get<uint64_t>() + said["exits.emulation"].get<uint64_t>() +
                               said["exits.exception"].get<uint64_t>());
    EXPECT_EQ(exits["mmio"], said["exits.mmio"]);
    EXPECT_GE(exits["intr"], said["exits.interrupted"]);
  }
  EXPECT_LE(exits["io"].get<uint64_t>() + exits["mmio"].get<uint64_t>(), said["kvm.exits"])
      << "KVM's own count has those that it settles by itself besides";
  EXPECT_THAT(sandbox_->MustHmvm({"guard", "status"}), HasSubstr("io " + exits["io"].dump()));
}

TEST_F(GuardRunTest, TheExitsOfASecondAreCounted) {
  sandbox_->MustHmvm(
      {"run", "-d", "--name", "c", "busybox", "sh", "-c", "while :; do date >/dev/null; done"});

  const json machines =
      json::parse(sandbox_->MustHmvm({"guard", "status", "--exits", "--format", "json"}))["machines"];
  // The guard is the host's, and so are its machines.
  const auto ours = std::ranges::find_if(
      machines, [id = Inspect()["id"]](const json& machine) { return machine["container"] == id; });
  ASSERT_NE(ours, machines.end());
  const json& machine = *ours;

  EXPECT_GT(machine["exits_to_vmm_per_s"]["io"], 0);
  EXPECT_TRUE(machine["exits_per_s"].is_null() || machine["exits_per_s"] > 0) << machine;
}

TEST_F(GuardRunTest, ABreachIsInTheAuditLogAndAmongTheEvents) {
  sandbox_->MustHmvm({"run", "-d", "--name", "c", "busybox", "sleep", "1000"});

  const int status = MisbehaveIn(CgroupOfVmm());

  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  const auto events = [] { return sandbox_->MustHmvm({"events", "--filter", "event=breach"}); };
  ASSERT_TRUE(WaitUntil([&] { return !events().empty(); }));
  EXPECT_THAT(events(), AllOf(HasSubstr("socket("), HasSubstr("killed")));
  EXPECT_THAT(sandbox_->MustHmvm({"audit", "verify"}), HasSubstr("lines, the last one's hash is "));
  const std::string path = sandbox_->root() / "audit/audit.jsonl";
  std::string text = *ReadFile(path);
  const json line = json::parse(text.substr(0, text.find('\n')));
  EXPECT_EQ(line["container"], Inspect()["id"]);
  EXPECT_EQ(line["image"], "busybox");
  EXPECT_EQ(line["call"], "socket");
  EXPECT_EQ(line["arguments"][0], "0x2");
  EXPECT_EQ(Inspect()["status"], "running") << "it was another process that was killed";

  text.replace(text.find("busybox"), 7, "innocent");
  ASSERT_TRUE(WriteFileAtomic(path, text).has_value());
  const Outcome verified = sandbox_->Hmvm({"audit", "verify"});
  EXPECT_EQ(verified.exit_code, 125);
  EXPECT_THAT(verified.err, HasSubstr("line 2: "));
  std::filesystem::remove_all(sandbox_->root() / "audit");
}

TEST_F(GuardRunTest, WithoutAGuardARunWarnsInALineAndGoesOn) {
  const Outcome outcome = RunWithoutBtf({});

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "up\n");
  EXPECT_EQ(outcome.err,
            "hmvm: warning: the container runs without the eBPF guard: the kernel has no BTF "
            "(CONFIG_DEBUG_INFO_BTF)\n");
}

TEST_F(GuardRunTest, WhereAGuardIsRequiredARunWithoutFailsAndLeavesNothing) {
  const Outcome outcome = RunWithoutBtf({"--require-guard"});

  EXPECT_EQ(outcome.exit_code, 125);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "hmvm: --require-guard: the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)\n");
  EXPECT_THAT(sandbox_->MustHmvm({"ps", "-aq"}), IsEmpty());
}

TEST_F(GuardRunTest, TheGuardCanBeUnloadedUnderARunningMachineAndComesWithTheNext) {
  sandbox_->MustHmvm({"run", "-d", "--name", "c", "busybox", "sleep", "1000"});

  sandbox_->MustHmvm({"guard", "unload"});

  EXPECT_TRUE(Inspect()["guard"].is_null());
  EXPECT_EQ(sandbox_->Hmvm({"guard", "unload"}).exit_code, 125) << "there is none";
  EXPECT_EQ(sandbox_->MustHmvm({"exec", "c", "echo", "up"}), "up");
  EXPECT_EQ(RunContainer({}, {"echo", "up"}).out, "up\n");
  EXPECT_TRUE(json::parse(sandbox_->MustHmvm({"guard", "status", "--format", "json"}))["loaded"]);
}

TEST_F(GuardRunTest, CheckTellsOfEachLayer) {
  const json report = json::parse(sandbox_->MustHmvm({"check", "--format", "json"}));

  std::vector<std::string> names;
  for (const json& finding : report["findings"]) names.push_back(finding["name"]);
  EXPECT_THAT(names,
              AllOf(Contains("guard: system-calls"), Contains("guard: lsm"), Contains("guard: sockets")));
}

}  // namespace
}  // namespace hmvm::test
