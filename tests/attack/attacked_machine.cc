#include "tests/attack/attacked_machine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/child.h"
#include "vmm/api/vmm.pb.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kDiskBytes = 4 << 20;
constexpr char kService[] = "hmvm.vmm.v1.Vmm";
constexpr char kWords[] = "what nobody will ever answer";

std::string ReadText(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

size_t Entries(const fs::path& dir) {
  std::error_code gone;
  return static_cast<size_t>(std::distance(fs::directory_iterator(dir, gone), fs::directory_iterator()));
}

UniqueFd Make(const fs::path& path, int flags) {
  auto file = OpenFile(path, flags | O_CREAT, 0600);
  EXPECT_TRUE(file.has_value()) << path;
  return file.has_value() ? std::move(*file) : UniqueFd();
}

}  // namespace

AttackedMachine::AttackedMachine(const fs::path& dir, const Options& options) : dir_(dir / "attacked") {
  fs::create_directories(dir_);
  for (uint64_t i = 0; i < kDiskBytes; ++i) read_only_content_ += static_cast<char>(i * 2654435761 >> 13);
  std::ofstream(dir_ / "read-only.img", std::ios::binary) << read_only_content_;
  fs::resize_file(dir_ / "read-only.img", options.disk_bytes);
  std::ofstream(dir_ / "writable.img", std::ios::binary) << std::string(kDiskBytes, '\0');

  constexpr int kError = 2, kControlFd = 3, kAgentFd = 4;
  const UniqueFd log = Make(dir_ / "log", O_WRONLY | O_APPEND | O_TRUNC);
  SocketPair control = MakeSocketPair(SOCK_STREAM).value();
  SocketPair agent = MakeSocketPair(SOCK_STREAM).value();
  EXPECT_TRUE(WriteAll(agent.first.get(), kWords).has_value());
  fs::remove(dir_ / "vsock");
  fs::remove(dir_ / "console");
  Process::Options start = {
      .arguments = {options.vmm, "--platform=" + options.platform, "--kernel=" + options.kernel.string(),
                    "--cpus=" + std::to_string(options.cpus), "--memory_mib=" + std::to_string(kMemoryMib),
                    "--memory_limit_mib=1024", "--console=" + (dir_ / "console").string(),
                    "--disks=ro:" + (dir_ / "read-only.img").string() +
                        ",rw:" + (dir_ / "writable.img").string(),
                    "--vsock_listener=" + (dir_ / "vsock").string(),
                    "--control=fd:" + std::to_string(kControlFd), "--agent=fd:" + std::to_string(kAgentFd),
                    "--cmdline=" + options.command_line},
      .fds = {{log.get(), kError}, {control.second.get(), kControlFd}, {agent.second.get(), kAgentFd}},
      .die_with_parent = true};
  if (options.jailed) {
    cell_ = Cell::Create("attacked-" + dir.filename().string(), {}).value();
    cell_.Enclose("kill", {}, start);
  }
  auto process = Process::Start(start);
  if (!process.has_value()) {
    ADD_FAILURE() << process.error().Message();
    reaped_ = true;
    return;
  }
  process_ = std::move(*process);
  agent_ = std::move(agent.first);
  control_ = TtrpcClient::Create(std::move(control.first));
}

AttackedMachine::~AttackedMachine() {
  if (reaped_) return;
  (void)process_.Signal(SIGKILL);
  (void)process_.Wait();
}

bool AttackedMachine::Running() const {
  pollfd ended = {.fd = process_.pidfd(), .events = POLLIN, .revents = 0};
  return !reaped_ && ::poll(&ended, 1, 0) == 0;
}

bool AttackedMachine::WaitUntilQuiet() const {
  const auto quiet = [this] { return Console().find("quiet\n") != std::string::npos; };
  WaitUntil([&] { return quiet() || !Running(); });
  return quiet();
}

void AttackedMachine::Connect() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  (dir_ / "vsock").string().copy(address.sun_path, sizeof(address.sun_path) - 1);
  // SAFETY: sockaddr is how the socket API spells any address.
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) return;
  (void)::send(fd.get(), "CONNECT 5000\n", 13, MSG_NOSIGNAL);
  connections_.push_back(std::move(fd));
}

std::string AttackedMachine::Console() const { return ReadText(dir_ / "console"); }
std::string AttackedMachine::Log() const { return ReadText(dir_ / "log"); }

std::map<std::string, uint64_t> AttackedMachine::Counters() {
  std::map<std::string, uint64_t> counters;
  const auto described = control_->Call<vmm::v1::DescribeResponse>(
      kService, "Describe", vmm::v1::DescribeRequest(), std::chrono::seconds(60));
  EXPECT_TRUE(described.has_value()) << described.error().Message();
  if (!described.has_value()) return counters;
  for (const vmm::v1::Counter& counter : described->counters()) counters[counter.name()] = counter.value();
  return counters;
}

std::chrono::milliseconds AttackedMachine::CpuTime() const {
  const std::string stat = ReadText("/proc/" + std::to_string(pid()) + "/stat");
  std::istringstream fields(stat.substr(std::min(stat.rfind(')'), stat.size() - 1) + 1));
  constexpr int kBeforeUserTime = 11;  // proc(5): state is the first behind the name, utime the 12th
  std::string skipped;
  for (int i = 0; i < kBeforeUserTime; ++i) fields >> skipped;
  uint64_t user = 0, system = 0;
  fields >> user >> system;
  return std::chrono::milliseconds((user + system) * 1000 / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK)));
}

uint64_t AttackedMachine::ResidentKib() const {
  const std::string status = ReadText("/proc/" + std::to_string(pid()) + "/status");
  const size_t at = status.find("VmRSS:");
  return at == std::string::npos ? 0 : std::stoull(status.substr(at + 6));
}

size_t AttackedMachine::Descriptors() const { return Entries("/proc/" + std::to_string(pid()) + "/fd"); }
size_t AttackedMachine::Threads() const { return Entries("/proc/" + std::to_string(pid()) + "/task"); }

int AttackedMachine::Stop() {
  (void)control_->Call<vmm::v1::StopResponse>(kService, "Stop", vmm::v1::StopRequest(),
                                              std::chrono::seconds(60));
  if (!WaitUntil([this] { return !Running(); }, 20'000)) return -1;
  const Result<int> status = process_.Wait();
  reaped_ = true;
  if (!status.has_value()) return -1;
  return WIFSIGNALED(*status) ? 128 + WTERMSIG(*status) : WEXITSTATUS(*status);
}

bool AttackedMachine::DisksAreWhole() const {
  return ReadText(dir_ / "read-only.img") == read_only_content_ &&
         fs::file_size(dir_ / "writable.img") == kDiskBytes;
}

}  // namespace hmvm::test
