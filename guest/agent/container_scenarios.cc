// Containers as the host drives them: agent.proto against a running agent.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/process.h"
#include "guest/agent/testing/agent_under_test.h"
#include "guest/api/agent.pb.h"

namespace hmvm::agent::test {
namespace {

namespace fs = std::filesystem;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// docker's default set, as the runtime sends it.
constexpr const char* kCapabilities[] = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
    "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
    "CAP_KILL",    "CAP_AUDIT_WRITE"};

// An EROFS of Debian's busybox with a few accounts.
Result<std::string> MakeImage(const fs::path& directory) {
  const fs::path root = directory / "image";
  for (const char* name : {"bin", "etc", "root", "home/web"}) fs::create_directories(root / name);
  fs::copy_file("/usr/bin/busybox", root / "bin/busybox");
  HMVM_TRY_ASSIGN(const CommandResult applets, RunCommand({"/usr/bin/busybox", "--list"}));
  std::istringstream names(applets.output);
  for (std::string name; std::getline(names, name);) {
    if (name != "busybox") fs::create_symlink("busybox", root / "bin" / name);
  }
  std::ofstream(root / "etc/passwd") << "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/home/web:/bin/sh\n";
  std::ofstream(root / "etc/group") << "root:x:0:\nweb:x:34:\nlogs:x:70:web\n";
  const std::string image = directory / "image.erofs";
  HMVM_TRY_ASSIGN(const CommandResult made, RunCommand({"/usr/bin/mkfs.erofs", image, root}));
  if (made.exit_code != 0) return Error{0, made.output};
  return image;
}

std::string ReadToEnd(int fd) {
  std::string all;
  std::vector<std::byte> chunk(1 << 20);
  for (;;) {
    const ssize_t got = ::read(fd, chunk.data(), chunk.size());
    if (got <= 0) return all;
    all.append(reinterpret_cast<const char*>(chunk.data()), static_cast<size_t>(got));
  }
}

struct Outcome {
  int status = -1;
  std::string out;
  std::string err;
};

class ContainerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string name = testing::TempDir() + "container_scenarios.XXXXXX";
    directory_ = new fs::path(::mkdtemp(name.data()));
    const auto image = MakeImage(*directory_);
    ASSERT_TRUE(image.has_value()) << image.error().Message();
    auto started = AgentUnderTest::Start(*image);
    if (!started.has_value() && started.error().code == EPERM) {
      why_not_ = new std::string(started.error().Message());
      return;
    }
    ASSERT_TRUE(started.has_value()) << started.error().Message();
    agent_ = started->release();
    v1::CreateContainerRequest too_early;
    too_early.set_container_id("early");
    const auto refused = Call<v1::CreateContainerResponse>("CreateContainer", too_early);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, EBUSY);
    ASSERT_TRUE(Personalise("guest", '0').has_value());
  }

  static void TearDownTestSuite() {
    delete agent_;
    fs::remove_all(*directory_);
    delete directory_;
    delete why_not_;
  }

  void SetUp() override {
    if (why_not_ != nullptr) GTEST_SKIP() << *why_not_;
    ASSERT_NE(agent_, nullptr);
    static int count = 0;
    container_ = "agent-test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
  }

  void TearDown() override {
    if (agent_ != nullptr) (void)Signal("", SIGKILL, true).has_value();
  }

  template <typename Response, typename Request>
  static Result<Response> Call(const char* method, const Request& request) {
    return agent_->client().Call<Response>("hmvm.agent.v1.Agent", method, request, std::chrono::minutes(5));
  }

  static Result<> Personalise(const std::string& hostname, char machine_id_digit) {
    v1::PersonaliseRequest request;
    request.set_entropy(std::string(64, 'e'));
    request.set_hostname(hostname);
    request.set_machine_id(std::string(32, machine_id_digit));
    const auto done = Call<v1::Empty>("Personalise", request);
    if (!done.has_value()) return done.error();
    return {};
  }

  v1::CreateContainerRequest CreateRequest() const {
    v1::CreateContainerRequest request;
    request.set_container_id(container_);
    request.mutable_rootfs()->set_lower_device(agent_->lower_device());
    request.mutable_rootfs()->set_upper_memory_bytes(64 << 20);
    request.set_hostname("box");
    return request;
  }

  Result<> Create(const v1::CreateContainerRequest& request) {
    const auto created = Call<v1::CreateContainerResponse>("CreateContainer", request);
    if (!created.has_value()) return created.error();
    return {};
  }

  // A container whose first process waits for a signal.
  void CreateIdle() {
    ASSERT_TRUE(Create(CreateRequest()).has_value());
    const auto started = Start(StartRequest("", {"sleep", "100000"}));
    ASSERT_TRUE(started.has_value()) << started.error().Message();
  }

  v1::StartProcessRequest StartRequest(const std::string& id, const std::vector<std::string>& args) const {
    v1::StartProcessRequest request;
    request.set_container_id(container_);
    request.set_process_id(id);
    for (const std::string& arg : args) request.mutable_process()->add_args(arg);
    for (const char* name : kCapabilities) request.mutable_process()->add_capabilities(name);
    return request;
  }

  static Result<uint32_t> Start(const v1::StartProcessRequest& request) {
    const auto started = Call<v1::StartProcessResponse>("StartProcess", request);
    if (!started.has_value()) return started.error();
    return started->pid();
  }

  v1::ProcessRequest Process(const std::string& id) const {
    v1::ProcessRequest request;
    request.set_container_id(container_);
    request.set_process_id(id);
    return request;
  }

  int Wait(const std::string& id) const {
    const auto ended = Call<v1::WaitProcessResponse>("WaitProcess", Process(id));
    return ended.has_value() ? static_cast<int>(ended->exit_status()) : -1;
  }

  Result<> Signal(const std::string& id, int signal, bool all = false) const {
    v1::SignalProcessRequest request;
    request.set_container_id(container_);
    request.set_process_id(id);
    request.set_signal(static_cast<uint32_t>(signal));
    request.set_all(all);
    const auto sent = Call<v1::Empty>("SignalProcess", request);
    if (!sent.has_value()) return sent.error();
    return {};
  }

  static uint64_t NewStream() {
    static std::atomic<uint64_t> next = 1;
    return next++;
  }

  // Runs a process to its end, with all that it writes.
  Result<Outcome> Run(v1::StartProcessRequest request, const std::string& input = "") {
    request.set_stdin_stream(NewStream());
    request.set_stdout_stream(NewStream());
    if (!request.process().terminal()) request.set_stderr_stream(NewStream());
    HMVM_TRY_ASSIGN(UniqueFd in, agent_->ConnectStream(request.stdin_stream()));
    HMVM_TRY_ASSIGN(UniqueFd out, agent_->ConnectStream(request.stdout_stream()));
    UniqueFd err;
    if (request.stderr_stream() != 0) {
      HMVM_TRY_ASSIGN(err, agent_->ConnectStream(request.stderr_stream()));
    }
    HMVM_TRY(Start(request));
    auto read_out = std::async(std::launch::async, [&] { return ReadToEnd(out.get()); });
    auto read_err = std::async(std::launch::async, [&] { return err.valid() ? ReadToEnd(err.get()) : ""; });
    (void)WriteAll(in.get(), input).has_value();  // a process may leave before it has read all
    ::shutdown(in.get(), SHUT_WR);
    Outcome outcome;
    outcome.status = Wait(request.process_id());
    outcome.out = read_out.get();
    outcome.err = read_err.get();
    return outcome;
  }

  // A line of the shell that makes nodes of devices that are there in every guest, the last of the image's
  // disk.
  static constexpr char kMakeNodes[] =
      "mknod /null c 1 3 && mknod /zero c 1 5 && mknod /kmsg c 1 11 && mknod /disk b ";
  static std::string Disk() {
    const std::string number =
        "/sys/class/block/" + fs::path(agent_->lower_device()).filename().string() + "/dev";
    return "$(tr : ' ' < " + number + ") && echo made\n";
  }

  Outcome Exec(const std::vector<std::string>& args, const std::string& input = "") {
    static int count = 0;
    const std::string id = "exec" + std::to_string(++count);
    auto outcome = Run(StartRequest(id, args), input);
    EXPECT_TRUE(outcome.has_value()) << outcome.error().Message();
    (void)Call<v1::Empty>("RemoveProcess", Process(id)).has_value();
    return outcome.value_or(Outcome());
  }

  Outcome Shell(const std::string& line, const std::string& input = "") {
    return Exec({"sh", "-c", line}, input);
  }

  static AgentUnderTest* agent_;
  static fs::path* directory_;
  static std::string* why_not_;
  std::string container_;
};

AgentUnderTest* ContainerTest::agent_ = nullptr;
fs::path* ContainerTest::directory_ = nullptr;
std::string* ContainerTest::why_not_ = nullptr;

TEST_F(ContainerTest, OutputsAndExitStatusOfTheFirstProcess) {
  ASSERT_TRUE(Create(CreateRequest()).has_value());

  const auto outcome = Run(StartRequest("", {"sh", "-c", "echo out; echo err >&2; exit 7"}));

  ASSERT_TRUE(outcome.has_value()) << outcome.error().Message();
  EXPECT_EQ(outcome->status, 7);
  EXPECT_EQ(outcome->out, "out\n");
  EXPECT_EQ(outcome->err, "err\n");
  EXPECT_EQ(Wait(""), 7);
}

TEST_F(ContainerTest, ContainerIdIsTakenOnce) {
  ASSERT_TRUE(Create(CreateRequest()).has_value());

  const auto again = Create(CreateRequest());

  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, EEXIST);
}

TEST_F(ContainerTest, MissingDiskIsAFailedPreconditionAndLeavesTheIdFree) {
  v1::CreateContainerRequest request = CreateRequest();
  request.mutable_rootfs()->set_lower_device("/dev/nosuch");

  const auto failed = Create(request);

  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code, EBUSY);
  EXPECT_THAT(failed.error().what, HasSubstr("/dev/nosuch"));
  EXPECT_TRUE(Create(CreateRequest()).has_value());
}

TEST_F(ContainerTest, MissingProgramIsNotFoundInDockersWords) {
  ASSERT_TRUE(Create(CreateRequest()).has_value());

  const auto started = Start(StartRequest("", {"nosuch"}));

  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code, ENOENT);
  EXPECT_EQ(started.error().what, "exec: \"nosuch\": executable file not found in $PATH");
  EXPECT_TRUE(Start(StartRequest("", {"sleep", "100000"})).has_value()) << "the id is free again";
}

TEST_F(ContainerTest, WhatCannotBeExecutedIsDenied) {
  CreateIdle();

  const auto file = Start(StartRequest("a", {"/etc/passwd"}));
  const auto directory = Start(StartRequest("b", {"/etc"}));
  v1::StartProcessRequest unknown_user = StartRequest("c", {"true"});
  unknown_user.mutable_process()->set_user("nobody");
  const auto user = Start(unknown_user);

  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().code, EACCES);
  EXPECT_EQ(file.error().what, "exec: \"/etc/passwd\": permission denied");
  ASSERT_FALSE(directory.has_value());
  EXPECT_EQ(directory.error().code, EACCES);
  ASSERT_FALSE(user.has_value());
  EXPECT_EQ(user.error().code, EINVAL);
  EXPECT_EQ(user.error().what, "unable to find user nobody: no matching entries in passwd file");
}

TEST_F(ContainerTest, EnvironmentUserAndDirectoryAreAsAskedFor) {
  CreateIdle();
  v1::StartProcessRequest request =
      StartRequest("e", {"sh", "-c", "echo $HOSTNAME $HOME $A $PATH; id; pwd; hostname; umask"});
  request.mutable_process()->add_env("A=1");
  request.mutable_process()->set_user("web");
  request.mutable_process()->set_cwd("/new/place");

  const auto outcome = Run(request);

  ASSERT_TRUE(outcome.has_value()) << outcome.error().Message();
  EXPECT_EQ(outcome->out,
            "box /home/web 1 /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
            "uid=33(web) gid=34(web) groups=34(web),70(logs)\n"
            "/new/place\nbox\n0022\n");
}

TEST_F(ContainerTest, FirstProcessIsNumberOneAndSeesItsOwnOnly) {
  ASSERT_TRUE(Create(CreateRequest()).has_value());

  const auto outcome =
      Run(StartRequest("", {"sh", "-c", "echo $$; ls -d /proc/[0-9]* | wc -l; cat /proc/self/cgroup"}));

  ASSERT_TRUE(outcome.has_value()) << outcome.error().Message();
  EXPECT_THAT(outcome->out, StartsWith("1\n"));
  EXPECT_THAT(outcome->out, HasSubstr("0::/\n"));
}

TEST_F(ContainerTest, DevicesMountsAndMasksAreDockers) {
  CreateIdle();

  const Outcome dev =
      Shell("cd /dev; ls; readlink ptmx; readlink fd; head -c 3 zero | wc -c; echo x > null; test -c tty");
  const Outcome mounts = Shell("cut -d' ' -f2,3 /proc/mounts");
  const Outcome masked = Shell(
      "wc -c < /proc/kcore; wc -c < /proc/timer_list; ls /sys/firmware; echo 1 > /proc/sys/kernel/panic");

  EXPECT_EQ(dev.status, 0);
  EXPECT_THAT(dev.out,
              HasSubstr("core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\n"
                        "urandom\nzero\npts/ptmx\n/proc/self/fd\n3\n"));
  for (const char* mount : {"/ overlay", "/proc proc", "/dev tmpfs", "/dev/pts devpts", "/dev/shm tmpfs",
                            "/sys sysfs", "/sys/fs/cgroup cgroup2", "/etc/hosts", "/etc/hostname"}) {
    EXPECT_THAT(mounts.out, HasSubstr(mount));
  }
  EXPECT_THAT(mounts.out, Not(HasSubstr("/run/hmvm")));
  EXPECT_THAT(masked.out, StartsWith("0\n"));
  EXPECT_THAT(masked.err, HasSubstr("Read-only file system"));
}

TEST_F(ContainerTest, HostsNamesTheContainer) {
  CreateIdle();

  const Outcome outcome = Shell("cat /etc/hostname; grep box /etc/hosts; stat -c %a /tmp");

  EXPECT_EQ(outcome.out, "box\n127.0.0.1\tbox\n1777\n");
}

TEST_F(ContainerTest, CapabilitiesLimitsAndPrivileges) {
  CreateIdle();
  v1::StartProcessRequest request =
      StartRequest("r", {"sh", "-c", "grep -E 'Cap|NoNew' /proc/self/status; ulimit -n"});
  request.mutable_process()->set_no_new_privileges(true);
  v1::Rlimit* const limit = request.mutable_process()->add_rlimits();
  limit->set_type("RLIMIT_NOFILE");
  limit->set_soft(99);
  limit->set_hard(100);
  v1::StartProcessRequest as_user = StartRequest("u", {"sh", "-c", "grep Cap /proc/self/status"});
  as_user.mutable_process()->set_user("33");

  const auto root = Run(request);
  const auto user = Run(as_user);

  ASSERT_TRUE(root.has_value()) << root.error().Message();
  EXPECT_EQ(root->out,
            "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n"
            "CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n99\n");
  ASSERT_TRUE(user.has_value()) << user.error().Message();
  EXPECT_THAT(user->out, HasSubstr("CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n"));
}

TEST_F(ContainerTest, SeccompFilterIsSetForEveryUserAndWhatIsNoneIsRefused) {
  CreateIdle();
  // mkdir(2), the only thing it looks at, fails with EACCES.
  const sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
                                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
                                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const std::string bytes(reinterpret_cast<const char*>(filter), sizeof(filter));
  for (const char* user : {"", "33"}) {
    v1::StartProcessRequest request =
        StartRequest(std::string("f") + user,
                     {"sh", "-c", "grep -E 'Seccomp:|CapEff|CapPrm' /proc/self/status; mkdir /tmp/x"});
    request.mutable_process()->set_user(user);
    request.mutable_process()->set_seccomp_filter(bytes);
    const auto outcome = Run(request);
    ASSERT_TRUE(outcome.has_value()) << outcome.error().Message();
    const std::string set = *user == 0 ? "00000000a80425fb" : "0000000000000000";
    EXPECT_EQ(outcome->out, "CapPrm:\t" + set + "\nCapEff:\t" + set + "\nSeccomp:\t2\n");
    EXPECT_THAT(outcome->err, HasSubstr("Permission denied"));
  }

  for (const std::string& wrong :
       {bytes.substr(1), bytes.substr(0, 24), std::string(8 * (BPF_MAXINSNS + 1), '\0')}) {
    v1::StartProcessRequest request = StartRequest("wrong", {"true"});
    request.mutable_process()->set_seccomp_filter(wrong);
    const auto started = Start(request);
    ASSERT_FALSE(started.has_value());
    EXPECT_EQ(started.error().code, EINVAL);
    EXPECT_THAT(started.error().what, HasSubstr("seccomp filter"));
  }
}

TEST_F(ContainerTest, DevicesOfTheGuestAreThoseAskedFor) {
  v1::CreateContainerRequest request = CreateRequest();
  request.add_devices("/dev/../etc/passwd");
  EXPECT_FALSE(Create(request).has_value());
  request.set_devices(0, "/dev/no-such-device");
  EXPECT_FALSE(Create(request).has_value());
  request.set_devices(0, "/dev/kmsg");
  ASSERT_TRUE(Create(request).has_value());

  const auto outcome =
      Run(StartRequest("", {"sh", "-c", "test -c /dev/kmsg && : > /dev/kmsg && echo opened"}));

  ASSERT_TRUE(outcome.has_value()) << outcome.error().Message();
  EXPECT_EQ(outcome->out, "opened\n") << outcome->err;
}

// As docker does: whoever unpacks an archive may make nodes, but they open nothing of the machine.
TEST_F(ContainerTest, DevicesThatAContainerMakesCanBeOpenedIfTheyAreTheUsualOnes) {
  ASSERT_TRUE(Create(CreateRequest()).has_value());

  const auto outcome = Run(StartRequest("", {"sh", "-c", kMakeNodes + Disk() + R"(
      for node in /null /zero; do (: < $node) && echo $node; done
      for node in /kmsg /disk; do (: > $node); (: < $node); done)"}));

  ASSERT_TRUE(outcome.has_value()) << outcome.error().Message();
  EXPECT_EQ(outcome->out, "made\n/null\n/zero\n");
  std::string refused;
  for (const char* node : {"create /kmsg", "open /kmsg", "create /disk", "open /disk"}) {
    refused += std::string("sh: can't ") + node + ": Operation not permitted\n";
  }
  EXPECT_EQ(outcome->err, refused);
}

TEST_F(ContainerTest, AllDevicesOfTheGuestCanBeOpenedWhereTheyAreAskedFor) {
  v1::CreateContainerRequest request = CreateRequest();
  request.set_all_devices(true);
  ASSERT_TRUE(Create(request).has_value());

  const auto outcome = Run(StartRequest(
      "", {"sh", "-c", kMakeNodes + Disk() + ": > /kmsg && dd if=/disk bs=4k count=1 2>/dev/null | wc -c"}));

  ASSERT_TRUE(outcome.has_value()) << outcome.error().Message();
  EXPECT_EQ(outcome->out, "made\n4096\n") << outcome->err;
}

TEST_F(ContainerTest, ReadOnlyRootRefusesWrites) {
  v1::CreateContainerRequest request = CreateRequest();
  request.set_read_only(true);
  v1::Mount* const mount = request.add_mounts();
  mount->set_type("tmpfs");
  mount->set_destination("/scratch");
  mount->add_options("size=1m");
  ASSERT_TRUE(Create(request).has_value());

  const auto outcome = Run(StartRequest("", {"sh", "-c", "echo x > /scratch/file && echo x > /file"}));

  ASSERT_TRUE(outcome.has_value()) << outcome.error().Message();
  EXPECT_EQ(outcome->status, 1);
  EXPECT_THAT(outcome->err, HasSubstr("can't create /file: Read-only file system"));
}

TEST_F(ContainerTest, InputReachesTheProcessAndEnds) {
  CreateIdle();
  std::string input;
  for (int line = 0; line < 400000; ++line) input += std::to_string(line) + "\n";

  const Outcome outcome = Exec({"cat"}, input);

  EXPECT_EQ(outcome.status, 0);
  EXPECT_TRUE(outcome.out == input) << outcome.out.size() << " bytes of " << input.size();
}

TEST_F(ContainerTest, HundredMegabytesArriveByteForByte) {
  constexpr size_t kBytes = 100000000;
  CreateIdle();

  const Outcome outcome = Shell("seq 1 20000000 | head -c 100000000");

  std::string expected;
  for (int line = 1; expected.size() < kBytes; ++line) expected += std::to_string(line) + "\n";
  expected.resize(kBytes);
  EXPECT_EQ(outcome.status, 0);
  EXPECT_TRUE(outcome.out == expected) << outcome.out.size() << " bytes";
}

TEST_F(ContainerTest, BackgroundProcessDoesNotHoldUpTheEndOfAnExec) {
  CreateIdle();

  const Outcome outcome = Shell("sleep 100000 & echo started");

  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out, "started\n");
}

TEST_F(ContainerTest, SignalsEndProcesses) {
  CreateIdle();
  ASSERT_TRUE(Start(StartRequest("a", {"sleep", "100000"})).has_value());
  ASSERT_TRUE(Start(StartRequest("b", {"sleep", "100000"})).has_value());

  ASSERT_TRUE(Signal("a", SIGTERM).has_value());
  const int terminated = Wait("a");
  const auto again = Signal("a", SIGTERM);
  ASSERT_TRUE(Signal("", SIGKILL).has_value());

  EXPECT_EQ(terminated, 128 + SIGTERM);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, ENOENT);
  EXPECT_EQ(Wait(""), 128 + SIGKILL);
  EXPECT_EQ(Wait("b"), 128 + SIGKILL) << "the end of the first process is everybody's";
}

TEST_F(ContainerTest, ExecNeedsARunningContainerAndAFreeId) {
  ASSERT_TRUE(Create(CreateRequest()).has_value());
  const auto early = Start(StartRequest("e", {"true"}));
  ASSERT_TRUE(Start(StartRequest("", {"sleep", "100000"})).has_value());
  ASSERT_TRUE(Start(StartRequest("e", {"sleep", "100000"})).has_value());
  const auto taken = Start(StartRequest("e", {"true"}));
  const auto running = Call<v1::Empty>("RemoveProcess", Process("e"));
  ASSERT_TRUE(Signal("", SIGKILL).has_value());
  EXPECT_EQ(Wait("e"), 128 + SIGKILL);
  const auto removed = Call<v1::Empty>("RemoveProcess", Process("e"));
  const auto unknown = Call<v1::WaitProcessResponse>("WaitProcess", Process("e"));
  const auto late = Start(StartRequest("f", {"true"}));

  ASSERT_FALSE(early.has_value());
  EXPECT_EQ(early.error().code, EBUSY);
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().code, EEXIST);
  ASSERT_FALSE(running.has_value());
  EXPECT_EQ(running.error().code, EBUSY);
  EXPECT_TRUE(removed.has_value());
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code, ENOENT);
  ASSERT_FALSE(late.has_value());
}

TEST_F(ContainerTest, LackOfMemoryIsToldApartFromAKill) {
  if (!agent_->limits_memory()) GTEST_SKIP() << "no memory controller";
  v1::CreateContainerRequest request = CreateRequest();
  request.mutable_resources()->set_memory_max_bytes(16 << 20);
  request.mutable_resources()->set_pids_max(10);
  ASSERT_TRUE(Create(request).has_value());
  ASSERT_TRUE(Start(StartRequest("", {"sleep", "100000"})).has_value());
  ASSERT_TRUE(Start(StartRequest("greedy", {"tail", "/dev/zero"})).has_value());

  const auto greedy = Call<v1::WaitProcessResponse>("WaitProcess", Process("greedy"));
  ASSERT_TRUE(Start(StartRequest("later", {"sleep", "100000"})).has_value());
  ASSERT_TRUE(Signal("later", SIGKILL).has_value());
  const auto later = Call<v1::WaitProcessResponse>("WaitProcess", Process("later"));

  ASSERT_TRUE(greedy.has_value()) << greedy.error().Message();
  EXPECT_EQ(greedy->exit_status(), 128u + SIGKILL);
  EXPECT_TRUE(greedy->oom_killed());
  ASSERT_TRUE(later.has_value()) << later.error().Message();
  EXPECT_EQ(later->exit_status(), 128u + SIGKILL);
  EXPECT_FALSE(later->oom_killed());
}

TEST_F(ContainerTest, TerminalHasASizeAndTakesInput) {
  CreateIdle();
  v1::StartProcessRequest request =
      StartRequest("t", {"sh", "-c", "tty; stty size; read line; echo \"<$line>\""});
  request.mutable_process()->set_terminal(true);
  request.mutable_process()->mutable_window()->set_rows(33);
  request.mutable_process()->mutable_window()->set_columns(111);

  const auto outcome = Run(request, "typed\n");

  ASSERT_TRUE(outcome.has_value()) << outcome.error().Message();
  EXPECT_EQ(outcome->status, 0);
  // The echo comes when the terminal takes the input, before or between the program's lines.
  EXPECT_THAT(outcome->out, HasSubstr("/dev/pts/0\r\n"));
  EXPECT_THAT(outcome->out, HasSubstr("33 111\r\n"));
  EXPECT_THAT(outcome->out, HasSubstr("typed\r\n")) << "the terminal's echo";
  EXPECT_THAT(outcome->out, EndsWith("<typed>\r\n"));
}

// A process with a terminal that says "ready" and then waits; `out` and `in` are its streams.
class TerminalTest : public ContainerTest {
 protected:
  void StartReady(const std::string& id, const std::string& trap) {
    v1::StartProcessRequest request = StartRequest(
        id, {"sh", "-c", "trap '" + trap + "; exit 5' INT WINCH; echo ready; while :; do sleep 0.1; done"});
    request.mutable_process()->set_terminal(true);
    request.set_stdin_stream(NewStream());
    request.set_stdout_stream(NewStream());
    auto in = agent_->ConnectStream(request.stdin_stream());
    auto out = agent_->ConnectStream(request.stdout_stream());
    ASSERT_TRUE(in.has_value() && out.has_value());
    in_ = std::move(*in);
    out_ = std::move(*out);
    const auto started = Start(request);
    ASSERT_TRUE(started.has_value()) << started.error().Message();
    std::string ready(7, '\0');
    ASSERT_TRUE(ReadFull(out_.get(), std::as_writable_bytes(std::span(ready))).has_value());
    ASSERT_EQ(ready, "ready\r\n");
  }

  UniqueFd in_;
  UniqueFd out_;
};

TEST_F(TerminalTest, InterruptKeyOnTheConsoleOfTheFirstProcess) {
  ASSERT_TRUE(Create(CreateRequest()).has_value());
  StartReady("", "test -c /dev/console && echo caught > /dev/console");

  ASSERT_TRUE(WriteAll(in_.get(), "\x03").has_value());

  EXPECT_THAT(ReadToEnd(out_.get()), HasSubstr("caught\r\n"));
  EXPECT_EQ(Wait(""), 5);
}

TEST_F(TerminalTest, ResizeIsSeenByTheProcess) {
  CreateIdle();
  StartReady("w", "stty size");

  v1::ResizeTerminalRequest resize;
  resize.set_container_id(container_);
  resize.set_process_id("w");
  resize.mutable_window()->set_rows(44);
  resize.mutable_window()->set_columns(55);
  ASSERT_TRUE(Call<v1::Empty>("ResizeTerminal", resize).has_value());

  EXPECT_EQ(ReadToEnd(out_.get()), "44 55\r\n");
  EXPECT_EQ(Wait("w"), 5);
}

// What a supervisor does to a guest that was restored from a snapshot of a running container; here the guest
// is the origin itself, which makes no difference to the agent.
TEST_F(ContainerTest, FrozenContainerGoesOnUnderNewNamesAndOnNewConnections) {
  ASSERT_TRUE(Create(CreateRequest()).has_value());
  v1::StartProcessRequest request =
      StartRequest("", {"sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done"});
  request.set_stdout_stream(NewStream());
  auto first = agent_->ConnectStream(request.stdout_stream());
  ASSERT_TRUE(first.has_value());
  ASSERT_TRUE(Start(request).has_value());
  std::string before(1, '\0');
  ASSERT_EQ(ReadFull(first->get(), std::as_writable_bytes(std::span(before))).value_or(0), 1u);

  ASSERT_TRUE(Call<v1::Empty>("Freeze", v1::Empty()).has_value());
  ASSERT_TRUE(Personalise("renamed", '7').has_value());
  before += ReadToEnd(first->get());  // the agent has closed it
  const auto second = agent_->ConnectStream(request.stdout_stream());
  ASSERT_TRUE(second.has_value());
  std::string after(200, '\0');
  ASSERT_EQ(ReadFull(second->get(), std::as_writable_bytes(std::span(after))).value_or(0), after.size());

  EXPECT_THAT(before, EndsWith("\n"));
  before.pop_back();
  EXPECT_EQ(std::stoi(after), std::stoi(before.substr(before.rfind('\n') + 1)) + 1);
  EXPECT_EQ(Shell("hostname; cat /etc/hostname; grep -c renamed /etc/hosts; cat /etc/machine-id").out,
            "renamed\nrenamed\n1\n" + std::string(32, '7') + "\n");
}

TEST_F(ContainerTest, ThawedContainerGoesOnAsItWas) {
  CreateIdle();

  ASSERT_TRUE(Call<v1::Empty>("Freeze", v1::Empty()).has_value());
  ASSERT_TRUE(Call<v1::Empty>("Thaw", v1::Empty()).has_value());

  EXPECT_EQ(Shell("hostname").out, "box\n");
}

TEST_F(ContainerTest, TooLittleEntropyIsRefused) {
  v1::PersonaliseRequest request;
  request.set_entropy("short");
  request.set_machine_id(std::string(32, '0'));

  const auto refused = Call<v1::Empty>("Personalise", request);

  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, EINVAL);
}

TEST_F(ContainerTest, ThousandExecsLeaveNothingBehind) {
  CreateIdle();
  EXPECT_EQ(Exec({"true"}).status, 0);
  const auto before = agent_->CountDescriptors();

  int good = 0;
  for (int i = 0; i < 1000; ++i) {
    const Outcome outcome = Shell("echo " + std::to_string(i));
    good += outcome.status == 0 && outcome.out == std::to_string(i) + "\n";
  }

  EXPECT_EQ(good, 1000);
  // The last exec's streams close after its answer: each call is one more turn of the agent's loop.
  for (int turn = 0; turn < 1000 && agent_->CountDescriptors() > before; ++turn) {
    ASSERT_TRUE(Call<v1::DescribeResponse>("Describe", v1::DescribeRequest()).has_value());
  }
  EXPECT_LE(agent_->CountDescriptors(), before);
  // Counted by the shell itself: of a pipeline's processes some may not have been started yet.
  EXPECT_EQ(Shell("set -- /proc/[0-9]*; echo $#").out, "2\n");  // sleep, sh
}

}  // namespace
}  // namespace hmvm::agent::test
