// The VMM as the attacker: hmvm-vmm-hostile makes one attack after the other, each with all layers around it
// and with some of them off. Nothing may succeed that harms anybody else; and where a layer forbids a system
// call, that layer must be what ends the process, and say so. Prints the table of docs/security.md.
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/process.h"
#include "base/ttrpc/client.h"
#include "security/cell.h"
#include "security/guard/audit.h"
#include "security/guard/audit_log.h"
#include "security/guard/guard.h"
#include "security/guard/guarded_vm.h"
#include "tests/attack/hostile/attack_list.h"
#include "tests/support/child.h"
#include "tests/vmm/tiny_guest.h"
#include "vmm/api/vmm.pb.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::HasSubstr;

constexpr uint64_t kDiskBytes = 4 << 20;
constexpr uint64_t kMemoryLimit = 256 << 20;

struct Layers {
  const char* name;
  bool seccomp;
  bool guard;
};
constexpr Layers kLayers[] = {{"all layers", true, true},
                              {"seccomp off", false, true},
                              {"guard off", true, false},
                              {"jail only", false, false}};

// What became of one attack.
struct Verdict {
  int signal = 0;                   // that ended the VMM; 0: it lived on
  std::string said;                 // "done", "refused: ENOENT"; empty: it had no time to
  std::optional<GuardEvent> event;  // the guard's first

  bool Succeeded() const { return said == kDone; }
  std::string Text(const HostileAttack& attack) const {
    if (event && event->kind == "seccomp") return "seccomp: " + event->call;
    if (event && event->deed == "killed")
      return "guard: " + (event->call.empty() ? event->kind : event->call);
    if (signal == SIGSYS) return "seccomp";
    if (Succeeded()) return "done: " + std::string(attack.jail_leaves);
    if (!said.empty()) return said.substr(kRefused.size());
    // Nobody else kills it.
    return signal == SIGKILL ? "the cgroup's memory limit" : "signal " + std::to_string(signal);
  }
};

UniqueFd Listen(int family, const sockaddr* address, socklen_t length) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  EXPECT_EQ(::bind(fd.get(), address, length), 0);
  EXPECT_EQ(::listen(fd.get(), 8), 0);
  return fd;
}

class VmmAttackTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoJail(); !why.empty()) GTEST_SKIP() << why;
    if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no access to /dev/kvm";
    std::string pattern = fs::temp_directory_path() / "hmvm-attack-test-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    // In the mount namespace of this test: what fills its disk fills no other.
    ASSERT_EQ(::mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=64m"), 0);
    pins_ = GuardPins("/sys/fs/bpf/" + dir_.filename().string());
    for (const char* disk : {"read-only", "writable"}) {
      std::ofstream(dir_ / disk) << std::string(kDiskBytes, 'x');
    }
    MakeTargets();
  }
  void TearDown() override {
    if (dir_.empty()) return;
    (void)UnloadGuard(pins_);
    ::umount2(dir_.c_str(), MNT_DETACH);
    fs::remove_all(dir_);
  }

  // A neighbour, a listener on each kind of socket: nobody may come.
  void MakeTargets() {
    // A number that nobody has in a VMM's own PID namespace.
    std::ofstream("/proc/sys/kernel/ns_last_pid") << 20'000;
    victim_.emplace(std::vector<std::string>{"sleep", "1000000"});
    sockaddr_in loopback = {};
    loopback.sin_family = AF_INET;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listeners_.push_back(Listen(AF_INET, reinterpret_cast<sockaddr*>(&loopback), sizeof(loopback)));
    socklen_t length = sizeof(loopback);
    ::getsockname(listeners_[0].get(), reinterpret_cast<sockaddr*>(&loopback), &length);
    const std::string path = dir_ / "socket", name = "hmvm-" + dir_.filename().string();
    for (const bool abstract : {false, true}) {
      sockaddr_un address = {};
      address.sun_family = AF_UNIX;
      const std::string& text = abstract ? name : path;
      text.copy(address.sun_path + (abstract ? 1 : 0), sizeof(address.sun_path) - 2);
      listeners_.push_back(Listen(AF_UNIX, reinterpret_cast<sockaddr*>(&address),
                                  static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() + 1)));
    }
    const std::string targets = std::to_string(victim_->pid()) + " " +
                                std::to_string(ntohs(loopback.sin_port)) + " " + path + " " + name;
    ::setenv(kTargetsVariable, targets.c_str(), 1);
  }

  // A VMM on a guest of a few instructions, and what must outlive it.
  struct Machine {
    std::unique_ptr<EventLoop> loop;
    Cell cell;
    std::unique_ptr<GuardedVm> guarded;
    UniqueFd log;
    UniqueFd agent;
    UniqueFd files;
    std::unique_ptr<TtrpcClient> control;
    Process vmm;
  };
  // Which makes the attack of this number; there are less than 255.
  Machine Start(uint8_t number, Traitor thread, const Layers& layers);
  Verdict Make(size_t number, const Layers& layers);
  void Judge(const HostileAttack& attack, const Layers& layers, const Verdict& verdict);

  fs::path dir_;
  GuardPins pins_;
  std::optional<Child> victim_;
  std::vector<UniqueFd> listeners_;
};

// Reads what there is; false at the end.
bool Drain(int fd, std::string* text) {
  char bytes[65536];
  const ssize_t got = ::read(fd, bytes, sizeof(bytes));
  if (got > 0 && text != nullptr) {
    text->append(bytes, static_cast<size_t>(got));
    if (text->size() > 2 * sizeof(bytes)) text->erase(0, text->size() - sizeof(bytes));
  }
  return got != 0;
}

VmmAttackTest::Machine VmmAttackTest::Start(uint8_t number, Traitor thread, const Layers& layers) {
  WriteGuest(dir_ / "kernel",
             {OutByte(kTraitorPort, static_cast<uint8_t>(thread)), OutByte(kAttackPort, number), Halt()});
  Machine machine;
  machine.loop = EventLoop::Create().value();
  machine.cell = Cell::Create("attack-" + dir_.filename().string(), {.memory_bytes = kMemoryLimit}).value();
  if (layers.guard) {
    machine.guarded =
        GuardedVm::Create(*machine.loop,
                          {.name = "attacked", .cgroup = machine.cell.cgroup().id(), .pins = pins_})
            .value();
  }
  Pipe log = MakePipe().value();
  SocketPair control = MakeSocketPair(SOCK_STREAM).value();
  SocketPair agent = MakeSocketPair(SOCK_STREAM).value();
  SocketPair files = MakeSocketPair(SOCK_SEQPACKET).value();
  constexpr sockaddr kAnyName = {.sa_family = AF_UNIX, .sa_data = {}};
  const UniqueFd listener = Listen(AF_UNIX, &kAnyName, sizeof(kAnyName.sa_family));
  const UniqueFd read_only = OpenFile(dir_ / "read-only", O_RDONLY).value();
  const UniqueFd writable = OpenFile(dir_ / "writable", O_RDWR).value();
  Process::Options options = {
      .arguments = {HOSTILE_VMM, "--platform=hardware", "--kernel=" + (dir_ / "kernel").string(),
                    "--memory_mib=32", "--control=fd:" + std::to_string(kControlFd),
                    "--agent=fd:" + std::to_string(kAgentFd), "--files=fd:" + std::to_string(kFilesFd),
                    "--vsock_listener=fd:" + std::to_string(kListenerFd),
                    "--disks=ro:fd:" + std::to_string(kReadOnlyDiskFd) +
                        ",rw:fd:" + std::to_string(kWritableDiskFd)},
      .fds = {{log.write.get(), STDERR_FILENO},
              {control.second.get(), kControlFd},
              {agent.second.get(), kAgentFd},
              {files.second.get(), kFilesFd},
              {listener.get(), kListenerFd},
              {read_only.get(), kReadOnlyDiskFd},
              {writable.get(), kWritableDiskFd}},
      .die_with_parent = true};
  machine.cell.Enclose(layers.seccomp ? "kill" : "off", {}, options);
  machine.vmm = Process::Start(options).value();
  machine.log = std::move(log.read);
  machine.agent = std::move(agent.first);
  machine.files = std::move(files.first);
  machine.control = TtrpcClient::Create(std::move(control.first));
  return machine;
}

Verdict VmmAttackTest::Make(size_t number, const Layers& layers) {
  const HostileAttack& attack = kHostileAttacks[number];
  Machine machine = Start(static_cast<uint8_t>(number), attack.thread, layers);
  Verdict verdict;
  const std::string prefix = "attack " + std::string(attack.name) + ": ";
  std::string text;
  for (;;) {
    pollfd fds[] = {
        {machine.log.get(), POLLIN, 0}, {machine.agent.get(), POLLIN, 0}, {machine.vmm.pidfd(), POLLIN, 0}};
    if (::poll(fds, 3, kPatienceMs) == 0) {
      ADD_FAILURE() << attack.name << ": nothing happens\n" << text;
      break;
    }
    if (fds[0].revents != 0 && !Drain(machine.log.get(), &text) && fds[2].revents != 0) break;
    if (fds[1].revents != 0 && !Drain(machine.agent.get(), nullptr)) machine.agent.reset();
    const size_t at = text.find(prefix);
    if (const size_t end = text.find('\n', at); at != std::string::npos && end != std::string::npos) {
      verdict.said = text.substr(at + prefix.size(), end - at - prefix.size());
      break;
    }
    if (fds[0].revents == 0 && fds[2].revents != 0) break;
  }
  if (!verdict.said.empty()) (void)machine.vmm.Signal(SIGKILL);
  const int status = machine.vmm.Wait().value();
  if (verdict.said.empty() && WIFSIGNALED(status)) verdict.signal = WTERMSIG(status);
  if (verdict.said.empty() && !WIFSIGNALED(status)) {
    ADD_FAILURE() << attack.name << ": the VMM ended with status " << WEXITSTATUS(status) << "\n" << text;
  }
  if (machine.guarded) {
    machine.guarded->Drain();
    verdict.event = machine.guarded->breach();
  }
  return verdict;
}

void VmmAttackTest::Judge(const HostileAttack& attack, const Layers& layers, const Verdict& verdict) {
  const std::string where = std::string(attack.name) + " with " + layers.name;
  const bool filtered = layers.seccomp && attack.table != Table::kAllowed;
  const bool guarded = layers.guard && !layers.seccomp && attack.table == Table::kForbidden;
  if (filtered) {
    EXPECT_EQ(verdict.signal, SIGSYS) << where << ": " << verdict.Text(attack);
    EXPECT_EQ(verdict.event.has_value(), layers.guard) << where;
  }
  if (guarded) {
    ASSERT_TRUE(verdict.event.has_value()) << where << ": " << verdict.Text(attack);
    EXPECT_EQ(verdict.event->deed, "killed") << where;
    EXPECT_THAT(verdict.event->call + " " + verdict.event->kind, HasSubstr(std::string(attack.call)))
        << where;
    EXPECT_EQ(verdict.signal, SIGKILL) << where;
    EXPECT_TRUE(AuditBreach(dir_ / "audit", *verdict.event, {"attacked", "none"}).has_value()) << where;
  }
  if (!filtered && !guarded && verdict.Succeeded()) {
    EXPECT_FALSE(attack.jail_leaves.empty()) << where << ": nothing stopped it";
  }
}

TEST_F(VmmAttackTest, EachIsStoppedAndReported) {
  std::cout << "| it ... | thread |";
  for (const Layers& layers : kLayers) std::cout << " " << layers.name << " |";
  std::cout << "\n| --- | --- | --- | --- | --- | --- |\n";
  constexpr const char* kThreads[] = {"vCPU", "device", "control"};
  for (size_t number = 0; number < kHostileAttackCount; ++number) {
    const HostileAttack& attack = kHostileAttacks[number];
    std::cout << "| " << attack.what << " | " << kThreads[static_cast<size_t>(attack.thread)] << " |";
    for (const Layers& layers : kLayers) {
      const Verdict verdict = Make(number, layers);
      Judge(attack, layers, verdict);
      std::cout << " " << verdict.Text(attack) << " |" << std::flush;
    }
    std::cout << "\n";
  }

  EXPECT_TRUE(victim_->Running());
  for (const UniqueFd& listener : listeners_) {
    EXPECT_LT(::accept(listener.get(), nullptr, nullptr), 0) << "somebody has come";
  }
  const auto audit = VerifyAuditLog(AuditLog::PathIn(dir_ / "audit"));
  ASSERT_TRUE(audit.has_value()) << audit.error().Message();
  EXPECT_EQ(audit->problem, "");
  EXPECT_GT(audit->lines, kHostileAttackCount / 2);
  EXPECT_EQ(fs::file_size(dir_ / "read-only"), kDiskBytes);
  EXPECT_EQ(ReadFile(dir_ / "read-only").value(), std::string(kDiskBytes, 'x'));
}

std::string Field(const std::string& status, const std::string& name) {
  const size_t at = status.find("\n" + name + ":\t");
  if (at == std::string::npos) return "";
  const size_t start = at + name.size() + 3;
  std::string value = status.substr(start, status.find('\n', start) - start);
  while (value.ends_with(' ')) value.pop_back();
  return value;
}

// What tools of the kind of amicontained, lsns and `systemd-analyze security` look at.
TEST_F(VmmAttackTest, ProcSaysThatItIsInAJail) {
  constexpr char kNone[] = "0000000000000000";
  Machine machine = Start(UINT8_MAX, Traitor::kVcpu, kLayers[0]);
  const fs::path proc = "/proc/" + std::to_string(machine.vmm.pid());
  // Sealed, all threads: the control channel answers when they serve.
  ASSERT_TRUE(machine.control
                  ->Call<vmm::v1::DescribeResponse>("hmvm.vmm.v1.Vmm", "Describe", vmm::v1::DescribeRequest(),
                                                    std::chrono::seconds(60))
                  .has_value());

  size_t threads = 0;
  for (const fs::directory_entry& thread : fs::directory_iterator(proc / "task")) {
    const std::string status = ReadFile(thread.path() / "status").value_or("");
    if (status.empty()) continue;  // a worker of io_uring's that has ended
    const std::string name = Field("\n" + status, "Name");
    std::cout << name;
    for (const char* field : {"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
                              "NoNewPrivs", "Seccomp", "Seccomp_filters"}) {
      std::cout << "  " << field << ": " << Field(status, field);
    }
    std::cout << "\n";
    if (name.starts_with("kvm-")) continue;  // the kernel's own
    ++threads;
    for (const char* field : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
      EXPECT_EQ(Field(status, field), kNone) << name << " " << field;
    }
    EXPECT_EQ(Field(status, "NoNewPrivs"), "1") << name;
    EXPECT_EQ(Field(status, "Seccomp"), "2") << name;
    EXPECT_EQ(Field(status, "Groups"), "") << name;
    EXPECT_NE(Field(status, "Uid").substr(0, 2), "0\t") << name;
  }
  EXPECT_GE(threads, 3u);
  for (const char* kind : {"mnt", "pid", "net", "ipc", "uts", "user"}) {
    const fs::path theirs = fs::read_symlink(proc / "ns" / kind);
    std::cout << theirs.string() << " ";
    EXPECT_NE(theirs, fs::read_symlink(fs::path("/proc/self/ns") / kind)) << kind;
  }
  std::cout << "\n" << RunProgram({"lsns", "-p", std::to_string(machine.vmm.pid())}).out;
  EXPECT_TRUE(fs::is_empty(proc / "root"));
  EXPECT_EQ(ReadFile(proc / "mountinfo").value().find('\n'), ReadFile(proc / "mountinfo").value().size() - 1)
      << "more than one mount";

  (void)machine.vmm.Signal(SIGKILL);
  (void)machine.vmm.Wait();
}

}  // namespace
}  // namespace hmvm::test
