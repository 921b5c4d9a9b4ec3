// What the jail costs a start: each layer alone, as a child that has it and ends at once against one that has
// not; and seccomp filters on a running machine: system calls of a thread with a role against one without.
#include "security/jail.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include <gflags/gflags.h>

#include "bench/measure.h"
#include "security/cell.h"
#include "security/fd_class.h"
#include "security/seccomp.h"

DEFINE_uint32(count, 200, "children with each layer");
DEFINE_uint32(calls, 300'000, "system calls of each sample");

namespace hmvm::bench {
namespace {

constexpr double kNsPerUs = 1e3;

// From before its birth to after its end.
double ChildUs(uint64_t namespaces, const std::function<void()>& act) {
  clone_args args = {};
  args.flags = namespaces;
  args.exit_signal = SIGCHLD;
  const int64_t start_ns = MonotonicNs();
  const auto child = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof(args)));
  if (child < 0) Fail("clone3: the bench needs root");
  if (child == 0) {
    act();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) Fail("a child failed");
  return static_cast<double>(MonotonicNs() - start_ns) / kNsPerUs;
}

void Enter() {
  const Jail jail = {.user = kFirstMachineUser + kMachineUsers - 1, .files = {}};
  if (!jail.Enter().has_value()) ::_exit(1);
}

void TakeRole(ThreadRole role) {
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (!EnterRole(role, SeccompMode::kKill, {}).has_value()) ::_exit(1);
}

void MeasureLayers() {
  struct Layer {
    Series times;
    std::function<double()> measure;
  };
  const auto child = [](uint64_t namespaces) { return [=] { return ChildUs(namespaces, [] {}); }; };
  std::vector<Layer> layers;
  layers.push_back({Series("a child without", "us"), child(0)});
  layers.push_back({Series("mount namespace", "us"), child(CLONE_NEWNS)});
  layers.push_back({Series("PID namespace", "us"), child(CLONE_NEWPID)});
  layers.push_back({Series("network namespace", "us"), child(CLONE_NEWNET)});
  layers.push_back({Series("IPC and host name's namespaces", "us"), child(CLONE_NEWIPC | CLONE_NEWUTS)});
  layers.push_back({Series("all namespaces", "us"), child(kJailNamespaces)});
  layers.push_back(
      {Series("all, and the jail entered", "us"), [] { return ChildUs(kJailNamespaces, Enter); }});
  layers.push_back(
      {Series("a seccomp filter", "us"), [] { return ChildUs(0, [] { TakeRole(ThreadRole::kVcpu); }); }});
  Series cell("cell: cgroup, user id, /dev/kvm, and its end", "us");
  for (unsigned i = 0; i < FLAGS_count; ++i) {
    Progress("layers, round " + std::to_string(i + 1) + " of " + std::to_string(FLAGS_count));
    for (Layer& layer : layers) layer.times.Add(layer.measure());
    const int64_t start_ns = MonotonicNs();
    { const auto made = Cell::Create("bench-" + std::to_string(::getpid()), {}); }
    cell.Add(static_cast<double>(MonotonicNs() - start_ns) / kNsPerUs);
  }
  std::printf("what each layer costs a process, from birth to end\n");
  std::vector<const Series*> rows;
  for (const Layer& layer : layers) rows.push_back(&layer.times);
  rows.push_back(&cell);
  PrintTable(rows);
}

// A child, so that its filter ends with it; the time comes back by a pipe.
double CallNs(bool filtered, ThreadRole role, const std::function<void()>& call) {
  int pipe[2];
  if (::pipe(pipe) != 0) Fail("pipe");
  ChildUs(0, [&] {
    if (filtered) TakeRole(role);
    const int64_t start_ns = MonotonicNs();
    for (unsigned i = 0; i < FLAGS_calls; ++i) call();
    const double each = static_cast<double>(MonotonicNs() - start_ns) / FLAGS_calls;
    (void)!::write(pipe[1], &each, sizeof(each));
  });
  double each = 0;
  (void)!::read(pipe[0], &each, sizeof(each));
  ::close(pipe[0]);
  ::close(pipe[1]);
  return each;
}

void MeasureCalls() {
  constexpr unsigned kRounds = 15;
  constexpr unsigned long kRunVcpu = 0xae80;  // KVM_RUN
  struct Pair {
    const char* name;
    ThreadRole role;
    std::function<void()> call;
  };
  AllowAllClasses();
  const auto placed = Place(fd_class::kEvents, UniqueFd(::eventfd(0, EFD_CLOEXEC)));
  if (!placed.has_value()) Fail("eventfd");
  const int event = placed->get();
  const Pair pairs[] = {
      {"vCPU: ioctl KVM_RUN (of no vCPU)", ThreadRole::kVcpu,
       [] { ::syscall(SYS_ioctl, fd_class::kVcpus.first, kRunVcpu, 0); }},
      {"vCPU: write to an eventfd", ThreadRole::kVcpu, [event] { ::eventfd_write(event, 1); }},
      {"devices: write to an eventfd", ThreadRole::kDevice, [event] { ::eventfd_write(event, 1); }},
      {"devices: accept4 (of no socket)", ThreadRole::kDevice,
       [] { ::syscall(SYS_accept4, fd_class::kListener.first, 0, 0, 0); }}};
  for (const Pair& pair : pairs) {
    Series without("without filter", "ns");
    Series with("with", "ns");
    for (unsigned i = 0; i < kRounds; ++i) {
      without.Add(CallNs(false, pair.role, pair.call));
      with.Add(CallNs(true, pair.role, pair.call));
    }
    std::printf("\n%s\n", pair.name);
    PrintTable({&without, &with});
  }
}

}  // namespace

void Main(const std::vector<std::string>&) {
  PrintMachine("bench/jail");
  MeasureLayers();
  MeasureCalls();
}

}  // namespace hmvm::bench
