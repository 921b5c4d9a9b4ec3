// What the eBPF guard costs: a system call of others and of a guarded VMM, in nanoseconds; loads that make a
// real VMM work, with the guard off and on in turns; and loading it and registering a machine. Needs root.
//   guard [calls|loads|start...]    all, or those named
#include "security/guard/guard.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>

#include <gflags/gflags.h>

#include "base/event_loop.h"
#include "base/file.h"
#include "base/process.h"
#include "bench/measure.h"
#include "bench/runtimes.h"
#include "security/cgroup.h"
#include "security/fd_class.h"
#include "security/guard/guarded_vm.h"
#include "tests/support/machine.h"

DEFINE_uint32(rounds, 10, "rounds, each with the guard off and on");
DEFINE_uint32(calls, 100'000, "system calls of a sample");
DEFINE_uint32(reads, 4000, "disk reads of a sample");
DEFINE_uint32(questions, 2000, "round trips to the guest's agent of a sample");

namespace hmvm::bench {
namespace {

namespace fs = std::filesystem;

template <typename T>
T OrFail(Result<T> result, const std::string& what) {
  if (!result.has_value()) Fail(what + ": " + result.error().Message());
  return std::move(*result);
}

GuardPins Pins() { return GuardPins("/sys/fs/bpf/hmvm-bench-" + std::to_string(::getpid())); }

// A cgroup for whom the guard watches, and the guard of this bench: one in use on the host is not touched,
// but would be in all numbers.
class Place {
 public:
  Place() : folder_(FindCgroup2() + "/hmvm-bench-" + std::to_string(::getpid())) {
    if (!GuardPins().Versions().empty()) Fail("a guard is loaded on this host: `hmvm guard unload` first");
    ::mkdir(folder_.c_str(), 0755);
    loop_ = OrFail(EventLoop::Create(), "make an event loop");
    directory_ = OrFail(OpenFile(folder_, O_RDONLY | O_DIRECTORY), "open a cgroup");
  }
  // Also after Fail(): what is pinned would slow the host for good, whatever has gone wrong before.
  ~Place() {
    if (vm_ != nullptr) vm_->Drain();
    if (vm_ != nullptr && vm_->breach().has_value()) {
      std::fprintf(stderr, "a breach: %s\n", vm_->breach()->Describe().c_str());
    }
    vm_.reset();
    (void)UnloadGuard(Pins()).has_value();
    ::rmdir(folder_.c_str());
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  void Load() { OrFail(LoadGuard(Pins()), "load the guard"); }
  void Guard(GuardRules rules) {
    vm_ = OrFail(GuardedVm::Create(*loop_, {.name = "bench",
                                            .cgroup = *CgroupId(directory_.get()),
                                            .rules = std::move(rules),
                                            .pins = Pins()}),
                 "guard a cgroup");
  }
  void Unguard() {
    if (vm_ != nullptr) vm_->Drain();
    if (vm_ != nullptr && vm_->breach().has_value()) Fail("a breach: " + vm_->breach()->Describe());
    vm_.reset();
  }
  void Off() {
    Unguard();
    OrFail(UnloadGuard(Pins()), "unload the guard");
  }
  // From here on, children included.
  void Enter() const {
    const UniqueFd procs = OrFail(OpenFile(folder_ + "/cgroup.procs", O_WRONLY), "open a cgroup");
    if (!WriteAll(procs.get(), "0").has_value()) Fail("can't move to '" + folder_ + "'");
  }
  int cgroup() const { return directory_.get(); }

 private:
  std::string folder_;
  std::unique_ptr<EventLoop> loop_;
  UniqueFd directory_;
  std::unique_ptr<GuardedVm> vm_;
};

// A VMM's from its birth on, one without a PID namespace of its own.
GuardRules BirthRules() {
  GuardRules rules = VmmRules();
  for (auto* state : {&rules.setting_up, &rules.sealed}) state->push_back({SYS_tgkill, {}, "kicks"});
  return rules;
}

// For who is sealed already, and for a measuring child.
GuardRules Rules() {
  GuardRules rules = BirthRules();
  rules.sealed.push_back({SYS_getppid, {}, "measured"});
  rules.setting_up = rules.sealed;
  return rules;
}

// --- Single calls.

using Call = void (*)();
void Getppid() { ::syscall(SYS_getppid); }
// On descriptors that are not there: numbers alone are looked at. KVM_RUN is the first row of ioctl's,
// UFFDIO_WAKE the last.
void FirstIoctl() { ::syscall(SYS_ioctl, fd_class::kVcpus.first, 0xae80, 0); }
void LastIoctl() { ::syscall(SYS_ioctl, fd_class::kUserfaultfd.first, 0x8010aa02, 0); }

// The least of many short series: what others take of the processor is left out.
double NsPerCall(Place* guarded, Call call) {
  void* const shared =
      ::mmap(nullptr, sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* const least = static_cast<double*>(shared);
  *least = 1e9;
  const pid_t child = ::fork();
  if (child == 0) {
    if (guarded != nullptr) guarded->Enter();
    constexpr unsigned kSeries = 1000;
    for (unsigned done = 0; done < FLAGS_calls; done += kSeries) {
      const int64_t begin = MonotonicNs();
      for (unsigned i = 0; i < kSeries; ++i) call();
      *least = std::min(*least, static_cast<double>(MonotonicNs() - begin) / kSeries);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) Fail("the measuring process ended with status " + std::to_string(status));
  const double result = *least;
  ::munmap(shared, sizeof(double));
  return result;
}

void MeasureCalls(Place& place) {
  Series none("getppid, no guard", "ns"), other("getppid of others, guard loaded", "ns"),
      allowed("getppid of a guarded process", "ns"), ioctl("ioctl, no guard", "ns"),
      first("ioctl of a guarded process, first row", "ns"),
      last("ioctl of a guarded process, last row", "ns");
  for (unsigned round = 0; round < FLAGS_rounds; ++round) {
    Progress("calls, round " + std::to_string(round + 1));
    place.Off();
    none.Add(NsPerCall(nullptr, Getppid));
    ioctl.Add(NsPerCall(nullptr, FirstIoctl));
    place.Load();
    other.Add(NsPerCall(nullptr, Getppid));
    GuardRules rules = Rules();
    place.Guard(rules);
    allowed.Add(NsPerCall(&place, Getppid));
    first.Add(NsPerCall(&place, FirstIoctl));
    last.Add(NsPerCall(&place, LastIoctl));
    place.Unguard();
  }
  PrintTable({&none, &other, &allowed, &ioctl, &first, &last});
  std::printf("\n");
}

// --- Loads.

class Guest {
 public:
  Guest(const Place& place, const fs::path& dir, const std::string& command_line) {
    const fs::path build = HMVM_BUILD_DIR;
    test::Machine::Options options;
    options.vmm = build / "libexec/hmvm/hmvm-vmm";
    options.kernel = build / "share/hmvm/vmlinux";
    options.initramfs = build / "share/hmvm/initramfs.cpio";
    options.disks = {"ro:" + (dir / "image").string(), "rw:" + (dir / "disk").string()};
    options.command_line = command_line;
    options.console = dir / "console";
    options.cgroup = place.cgroup();
    machine_.emplace(OrFail(test::Machine::Start(options), "start a machine"));
  }
  ~Guest() { machine_->Stop(); }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  void Ask() {
    OrFail(machine_->Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest()),
           "ask the agent");
  }
  void MakeContainer() {
    agent::v1::PersonaliseRequest identity;
    identity.set_entropy(std::string(32, 'e'));
    identity.set_hostname("guest");
    identity.set_machine_id(std::string(32, '0'));
    OrFail(machine_->Agent<agent::v1::Empty>("Personalise", identity), "give the guest its identity");
    agent::v1::CreateContainerRequest create;
    create.set_container_id("c");
    create.mutable_rootfs()->set_lower_device("/dev/vda");
    create.mutable_rootfs()->set_upper_device("/dev/vdb");
    OrFail(machine_->Agent<agent::v1::CreateContainerResponse>("CreateContainer", create),
           "make a container");
    Run("true", /*first=*/true);
  }
  void Run(const std::string& line, bool first = false) {
    agent::v1::StartProcessRequest start;
    start.set_container_id("c");
    const std::string id = first ? "" : "p" + std::to_string(++processes_);
    start.set_process_id(id);
    for (const char* argument : {"sh", "-c", first ? "sleep 1000000" : line.c_str()}) {
      start.mutable_process()->add_args(argument);
    }
    start.mutable_process()->set_cwd("/");
    start.mutable_process()->set_user("0");
    OrFail(machine_->Agent<agent::v1::StartProcessResponse>("StartProcess", start), "start a process");
    if (first) return;
    agent::v1::ProcessRequest process;
    process.set_container_id("c");
    process.set_process_id(id);
    const auto ended =
        OrFail(machine_->Agent<agent::v1::WaitProcessResponse>("WaitProcess", process), "wait for a process");
    if (ended.exit_status() != 0) Fail("'" + line + "' failed in the guest");
    OrFail(machine_->Agent<agent::v1::Empty>("RemoveProcess", process), "forget a process");
  }
  int64_t CpuNs() const { return CpuTimeNs(machine_->pid()); }

 private:
  std::optional<test::Machine> machine_;
  unsigned processes_ = 0;
};

struct Cost {
  Series wall;
  Series cpu;
  explicit Cost(const std::string& name) : wall(name + ": time", "us"), cpu(name + ": processor", "us") {}
};

// `load` does `count` operations.
void Measure(Guest& guest, unsigned count, const std::function<void()>& load, Cost& cost) {
  const int64_t cpu = guest.CpuNs(), wall = MonotonicNs();
  load();
  cost.wall.Add(static_cast<double>(MonotonicNs() - wall) / 1e3 / count);
  cost.cpu.Add(static_cast<double>(guest.CpuNs() - cpu) / 1e3 / count);
}

// The same load with the guard off and on, in turns; which comes first changes each time. `rules` are for who
// is there when the guard comes.
void MeasurePairs(Place& place, const std::string& name, const GuardRules& rules,
                  const std::function<void(Cost&)>& run) {
  Cost off(name + ", off"), on(name + ", on"), exits(name + ", on, exits counted");
  for (unsigned round = 0; round < FLAGS_rounds; ++round) {
    Progress(name + ", round " + std::to_string(round + 1));
    for (unsigned turn = 0; turn < 3; ++turn) {
      switch ((round + turn) % 3) {
        case 0:
          place.Off();
          run(off);
          break;
        case 1:
          place.Load();
          place.Guard(rules);
          run(on);
          place.Unguard();
          break;
        default:
          place.Load();
          place.Guard(rules);
          const auto counted = OrFail(AttachOnDemand("kvm-exits", Pins()), "count exits");
          run(exits);
          place.Unguard();
          break;
      }
    }
  }
  PrintTable({&off.cpu, &on.cpu, &exits.cpu});
  PrintTable({&off.wall, &on.wall, &exits.wall});
  std::printf("\n");
}

void MeasureLoads(Place& place) {
  static const Runtimes runtimes;
  runtimes.Prepare(fs::path(HMVM_BUILD_DIR) / "tests/images/busybox", "busybox", R"(["true"])");
  const fs::path dir = fs::path(runtimes.bundle()) / "guard";
  fs::create_directories(dir);
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(runtimes.bundle())) {
    if (entry.path().extension() == ".erofs") fs::copy_file(entry.path(), dir / "image");
  }
  std::ofstream(dir / "disk").flush();
  fs::resize_file(dir / "disk", 64 << 20);
  Must({"/usr/sbin/mkfs.ext4", "-q", "-F", dir / "disk"});
  {
    Guest guest(place, dir, "");
    guest.MakeContainer();
    const std::string count = std::to_string(FLAGS_reads);
    guest.Run("dd if=/dev/zero of=/data bs=4k count=" + count + " && sync");
    const std::string read = "dd if=/data of=/dev/null bs=4k iflag=direct count=" + count;
    MeasurePairs(place, "disk read of 4 KiB", Rules(), [&](Cost& cost) {
      Measure(
          guest, FLAGS_reads, [&] { guest.Run(read); }, cost);
    });
    MeasurePairs(place, "vsock round trip", Rules(), [&](Cost& cost) {
      Measure(
          guest, FLAGS_questions,
          [&] {
            for (unsigned i = 0; i < FLAGS_questions; ++i) guest.Ask();
          },
          cost);
    });
  }
  // What the guest prints goes through exits and the VMM, which writes it to a file. The guard is there
  // before the VMM: one that sets itself up does what is forbidden to a sealed one.
  MeasurePairs(place, "boot with all messages on the console", BirthRules(), [&](Cost& cost) {
    Guest guest(place, dir, "loglevel=8 ignore_loglevel");
    Measure(
        guest, 1, [&] { guest.Ask(); }, cost);
  });
}

// --- Start.

void MeasureStart(Place& place) {
  Series load("load the guard", "us"), first("register a machine, first of its policy", "us"),
      others("register a machine", "us");
  for (unsigned round = 0; round < FLAGS_rounds; ++round) {
    place.Off();
    int64_t begin = MonotonicNs();
    place.Load();
    load.Add(static_cast<double>(MonotonicNs() - begin) / 1e3);
    auto loop = OrFail(EventLoop::Create(), "make an event loop");
    const std::string path = FindCgroup2() + "/hmvm-bench-start-" + std::to_string(::getpid());
    ::mkdir(path.c_str(), 0755);
    const UniqueFd directory = OrFail(OpenFile(path, O_RDONLY | O_DIRECTORY), "open a cgroup");
    for (Series* series : {&first, &others, &others, &others}) {
      begin = MonotonicNs();
      const auto vm = OrFail(GuardedVm::Create(*loop, {.name = "bench",
                                                       .cgroup = *CgroupId(directory.get()),
                                                       .in_background = [](const std::function<void()>&) {},
                                                       .pins = Pins()}),
                             "register");
      series->Add(static_cast<double>(MonotonicNs() - begin) / 1e3);
    }
    ::rmdir(path.c_str());
  }
  PrintTable({&load, &first, &others});
}

}  // namespace

void Main(const std::vector<std::string>& arguments) {
  const auto wanted = [&](const char* name) {
    return arguments.empty() || std::ranges::find(arguments, name) != arguments.end();
  };
  PrintMachine("guard");
  static Place place;  // Fail() destroys such objects only
  if (wanted("calls")) MeasureCalls(place);
  if (wanted("loads")) MeasureLoads(place);
  if (wanted("start")) MeasureStart(place);
}

}  // namespace hmvm::bench
