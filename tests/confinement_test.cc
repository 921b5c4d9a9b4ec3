// How containers are held inside their guest: what docker's users expect, tried from inside.
#include <linux/audit.h>
#include <sys/syscall.h>

#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "security/container/capability_options.h"
#include "security/container/seccomp_filter.h"
#include "security/container/syscall_names.h"
#include "security/container/testing/run_filter.h"
#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using testing::HasSubstr;
using testing::Not;

// By number: "errno 9".
using Results = std::map<int, std::string>;

constexpr int kUretprobe = 335;

// Containers of each kind, made when first needed.
class ConfinementTest : public GuestTest {
 protected:
  static Outcome In(const std::string& name, const std::vector<std::string>& run_options,
                    const std::string& line, const std::vector<std::string>& exec_options = {}) {
    static std::map<std::string, bool> made;
    if (!std::exchange(made[name], true)) {
      std::vector<std::string> run = {"run", "-d", "--name", name};
      run.insert(run.end(), run_options.begin(), run_options.end());
      run.insert(run.end(), {"busybox", "sleep", "1000000"});
      sandbox_->MustHmvm(run);
    }
    std::vector<std::string> exec = {"exec"};
    exec.insert(exec.end(), exec_options.begin(), exec_options.end());
    exec.insert(exec.end(), {name, "sh", "-c", line});
    return sandbox_->Hmvm(exec);
  }

  // What syscall_check sees in such a container.
  static Results AllCalls(const std::string& name, const std::vector<std::string>& run_options) {
    (void)In(name, run_options, "true");
    std::ifstream file(BuildDir() / "tests/syscall_check", std::ios::binary);
    const std::string program{std::istreambuf_iterator<char>(file), {}};
    const Outcome installed = sandbox_->Hmvm(
        {"exec", "-i", name, "sh", "-c", "cat > /bin/syscall_check && chmod 755 /bin/syscall_check"},
        program);
    EXPECT_EQ(installed.exit_code, 0) << Describe(installed);
    const Outcome outcome = In(name, run_options, "syscall_check 2>/dev/null");
    EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
    Results results;
    std::istringstream lines(outcome.out);
    int number = 0;
    for (std::string line; lines >> number && std::getline(lines, line);) results[number] = line.substr(1);
    EXPECT_EQ(results.size(), 471u);
    return results;
  }

  // Each call is refused as `profile` says, or does what it does without a filter.
  static void ExpectProfile(const SeccompProfile& profile, const Results& confined) {
    static const Results bare = AllCalls("bare", {"--security-opt", "seccomp=unconfined"});
    const auto filter = CompileSeccomp(profile, DefaultCapabilities()).value();
    for (const auto& [number, result] : confined) {
      const seccomp_data call = {
          .nr = number, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = 0, .args = {~0ULL, ~0ULL, ~0ULL}};
      const SeccompVerdict verdict = RunFilter(filter, call);
      // The kernel lets its own detour pass by all filters (Linux 6.12.x, "passthrough uretprobe").
      const bool filtered = number != kUretprobe && verdict != SECCOMP_RET_ALLOW;
      const std::string expected =
          filtered ? "errno " + std::to_string(verdict & SECCOMP_RET_DATA) : bare.at(number);
      EXPECT_EQ(result, expected) << NameOfSyscall(number) << ": " << FormatVerdict(verdict);
    }
  }
};

constexpr char kStatus[] =
    "grep -E '^(CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t\\n' ' ;'";

TEST_F(ConfinementTest, EverySystemCallIsAnsweredByTheDefaultsTable) {
  ExpectProfile(DefaultSeccomp(), AllCalls("plain", {}));
}

TEST_F(ConfinementTest, EverySystemCallIsAnsweredByStrictsTable) {
  ExpectProfile(StrictSeccomp(), AllCalls("few-calls", {"--security-opt", "seccomp=strict"}));
}

TEST_F(ConfinementTest, FirstProcessAndFurtherOnesAreConfinedAlike) {
  const std::string all =
      "CapPrm: 00000000a80425fb;CapEff: 00000000a80425fb;CapBnd: 00000000a80425fb;NoNewPrivs: 0;Seccomp: 2;";

  EXPECT_EQ(RunContainer({}, {"sh", "-c", kStatus}).out, all);
  EXPECT_EQ(In("plain", {}, kStatus).out, all);
  EXPECT_EQ(In("plain", {}, "grep -c 'Seccomp:.2' /proc/1/status").out, "1\n");
}

TEST_F(ConfinementTest, NamespacesAndMountsAreForbidden) {
  EXPECT_THAT(In("plain", {}, "unshare -m true").err, HasSubstr("Operation not permitted"));
  EXPECT_THAT(In("plain", {}, "unshare -U true").err, HasSubstr("Operation not permitted"));
  EXPECT_NE(In("plain", {}, "mount -t tmpfs none /tmp").exit_code, 0);
}

TEST_F(ConfinementTest, CapabilitiesOpenWhatTheyAreFor) {
  const std::vector<std::string> options = {"--cap-add", "sys_admin", "--cap-drop", "CAP_CHOWN"};

  EXPECT_EQ(In("admin", options, "mount -t tmpfs none /tmp && unshare -m true && echo good").out, "good\n");
  EXPECT_THAT(In("admin", options, "touch /f; chown 1 /f").err, HasSubstr("Operation not permitted"));
}

TEST_F(ConfinementTest, WithoutCapabilitiesAndNewPrivileges) {
  const Outcome outcome =
      RunContainer({"--cap-drop", "all", "--security-opt", "no-new-privileges"}, {"sh", "-c", kStatus});

  EXPECT_EQ(
      outcome.out,
      "CapPrm: 0000000000000000;CapEff: 0000000000000000;CapBnd: 0000000000000000;NoNewPrivs: 1;Seccomp: 2;");
}

TEST_F(ConfinementTest, PrivilegedHasAllOfItsGuest) {
  const auto in = [](const std::string& line) { return In("master", {"--privileged"}, line).out; };

  EXPECT_THAT(in(kStatus),
              HasSubstr("CapEff: 000001ffffffffff;CapBnd: 000001ffffffffff;NoNewPrivs: 0;Seccomp: 0;"));
  EXPECT_EQ(in("test -b /dev/vda && test -c /dev/kmsg && echo there"), "there\n");
  EXPECT_EQ(in("mount -t tmpfs none /tmp && echo mounted"), "mounted\n");
  EXPECT_THAT(in("grep -E ' (/proc/|/sys)' /proc/mounts"), Not(HasSubstr(" ro,")));
}

TEST_F(ConfinementTest, ExecMayBePrivilegedInAContainerThatIsNot) {
  EXPECT_THAT(In("plain", {}, kStatus, {"--privileged"}).out, HasSubstr("CapEff: 000001ffffffffff"));
  EXPECT_EQ(
      In("plain", {}, "mkdir -p /m && mount -t tmpfs none /m && umount /m && echo good", {"--privileged"})
          .out,
      "good\n");
}

TEST_F(ConfinementTest, SystemPathsMayBeOpen) {
  const Outcome outcome = RunContainer({"--security-opt", "systempaths=unconfined"},
                                       {"sh", "-c", "grep -c ' /proc/' /proc/mounts"});

  EXPECT_EQ(outcome.out, "0\n");
}

TEST_F(ConfinementTest, AProfileOfDockersFormat) {
  const std::string path = sandbox_->dir() / "profile.json";
  std::ofstream(path) << R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
      {"names": ["mkdir", "mkdirat", "mkdirr"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]})";

  const Outcome outcome = RunContainer({"--security-opt", "seccomp=" + path}, {"mkdir", "/x"});

  EXPECT_THAT(outcome.err, HasSubstr("Permission denied"));
  EXPECT_THAT(outcome.err, HasSubstr("unknown system call 'mkdirr', ignoring"));
}

// A filter that allows no more than execve(2) is set all the same: what follows is the program's end.
TEST_F(ConfinementTest, AProfileNeedNotAllowWhatTheAgentDoes) {
  const std::string path = sandbox_->dir() / "nothing.json";
  std::ofstream(path) << R"({"defaultAction": "SCMP_ACT_KILL_PROCESS",
      "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]})";

  EXPECT_EQ(RunContainer({"--security-opt", "seccomp=" + path}, {"true"}).exit_code, 128 + SIGSYS);
}

TEST_F(ConfinementTest, StrictIsMoreThanAName) {
  const Outcome outcome = RunContainer(
      {"--security-profile", "strict"},
      {"sh", "-c",
       std::string(kStatus) + "; cat /sys/fs/cgroup/pids.max; touch /file || mknod /dev/shm/n p"});

  EXPECT_THAT(outcome.out, HasSubstr("CapBnd: 00000000000004e1;NoNewPrivs: 1;Seccomp: 2;512\n"));
  EXPECT_THAT(outcome.err, HasSubstr("/file: Read-only file system"));
  EXPECT_THAT(outcome.err, HasSubstr("Operation not permitted"));
}

TEST_F(ConfinementTest, AFilesDevicesAndCeilings) {
  const std::string path = sandbox_->dir() / "profile.yaml";
  std::ofstream(path) << "version: 1\ndevices: [/dev/fuse]\nresources: {pids: 20, memory: 300m}\n";

  const Outcome outcome = RunContainer({"--security-profile", path},
                                       {"sh", "-c", "test -c /dev/fuse && cat /sys/fs/cgroup/pids.max"});
  const Outcome refused = RunContainer({"--security-profile", path, "-m", "1g"}, {"true"});

  EXPECT_EQ(outcome.out, "20\n") << Describe(outcome);
  EXPECT_THAT(refused.err, HasSubstr("--memory: 1 GiB is more than the 300 MiB that security profile"));
}

TEST_F(ConfinementTest, ForksAndTheirFurtherProcessesStayConfined) {
  (void)In("origin", {"--cap-drop", "CHOWN", "--security-opt", "no-new-privileges"}, "true");
  const std::string copy = sandbox_->MustHmvm({"fork", "origin"});

  const Outcome outcome = sandbox_->Hmvm(
      {"exec", copy, "sh", "-c", std::string(kStatus) + "; grep -c Seccomp:.2 /proc/1/status"});

  EXPECT_EQ(outcome.out,
            "CapPrm: 00000000a80425fa;CapEff: 00000000a80425fa;CapBnd: 00000000a80425fa;NoNewPrivs: "
            "1;Seccomp: 2;1\n");
}

}  // namespace
}  // namespace hmvm::test
