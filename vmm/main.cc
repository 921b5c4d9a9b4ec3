// hmvm-vmm: one process, one microVM. Exit status: 0 power-off or Stop, 1 wrong arguments or failed set-up, 2
// reset by the guest, 3 panic of the guest, 4 KVM error.
#include <elf.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <sstream>

#include "base/event_loop.h"
#include "base/file.h"
#include "base/log.h"
#include "security/fd_class.h"
#include "security/jail.h"
#include "security/seccomp.h"
#include "vmm/boot/bzimage_payload.h"
#include "vmm/control.h"
#include "vmm/ending_signals.h"
#include "vmm/flags.h"
#include "vmm/machine.h"
#include "vmm/probe_report.h"
#include "vmm/snapshot/state_file.h"

namespace hmvm {
namespace {

enum ExitStatus { kPowerOff = 0, kSetUpFailed = 1, kReset = 2, kPanic = 3, kKvmError = 4 };

ExitStatus StatusOf(MachineEnd end) {
  switch (end) {
    case MachineEnd::kPowerOff:
      return kPowerOff;
    case MachineEnd::kReset:
      return kReset;
    case MachineEnd::kPanic:
      return kPanic;
    case MachineEnd::kKvmError:
      return kKvmError;
  }
  return kKvmError;
}

void LogReport(const std::string& report) {
  std::istringstream lines(report);
  for (std::string line; std::getline(lines, line);) LOG(ERROR) << Escape(line);
}

Result<ExitStatus> Probe() {
  HMVM_TRY_ASSIGN(const Kvm kvm, Kvm::Open());
  HMVM_TRY_ASSIGN(const HostProbe probe, ProbeHost(kvm));
  HMVM_TRY(WriteAll(STDOUT_FILENO, ProbeReport(probe)));
  return kPowerOff;
}

Result<ExitStatus> Inspect(int fd) {
  HMVM_TRY_ASSIGN(const snapshot::MachineState state, ReadState(fd, "machine.pb"));
  HMVM_TRY(WriteAll(STDOUT_FILENO, StateReport(state)));
  return kPowerOff;
}

bool IsElf(int file) {
  char magic[SELFMAG] = {};
  return ::pread(file, magic, sizeof(magic), 0) == SELFMAG && std::memcmp(magic, ELFMAG, SELFMAG) == 0;
}

// All that a machine needs under a name of the host's, and then the door behind us: what comes after, the
// first look into a kernel or snapshot included, is done from within the jail.
Result<> EnterJail(Flags& flags, int signals) {
  HMVM_TRY(flags.PlaceFiles());
  HMVM_TRY_ASSIGN(flags.machine.host, OpenHost(flags.kvm));
  if (flags.machine.restore && flags.machine.restore->archive) {
    HMVM_TRY_ASSIGN(flags.machine.host->userfaultfd, LazyLoader::OpenUserfaultfd());
  }
  if (!flags.jail) return {};
  if (!flags.machine.restore && !IsElf(flags.machine.kernel.fd.get())) HMVM_TRY(LoadUnpacker());
  std::vector<int> files = flags.OpenFiles();
  for (const int file : flags.machine.host->OpenFiles()) files.push_back(file);
  files.push_back(signals);
  HMVM_TRY_ASSIGN(const std::vector<std::string> missing,
                  (Jail{.user = flags.jail->user, .files = files}.Enter()));
  for (const std::string& layer : missing) LOG(WARNING) << layer;
  return {};
}

Result<ExitStatus> Run(int argc, char** argv, uint64_t started_monotonic_ns) {
  AllowAllClasses();
  HMVM_TRY_ASSIGN(const EndingSignals signals, EndingSignals::Take());
  HMVM_TRY_ASSIGN(Flags flags, ParseFlags(argc, argv));
  if (flags.probe) return Probe();
  if (flags.inspect.valid()) return Inspect(flags.inspect.get());
  SettleLibrary();
  HMVM_TRY(EnterJail(flags, signals.fd()));
  flags.machine.enter_role = [mode = flags.seccomp, further = flags.syscalls](ThreadRole role) -> Result<> {
    // Last of all, and of all threads: what is open by now has its place.
    if (role == ThreadRole::kControl) HMVM_TRY(AllowArrivingOnly());
    HMVM_TRY(EnterRole(role, mode, further));
    return role == ThreadRole::kControl ? Seal() : Result<>();
  };
  HMVM_TRY_ASSIGN(const auto loop, EventLoop::Create(PlacedIn(fd_class::kEvents)));
  if (flags.machine.restore) {
    flags.machine.restore->on_memory_lost = [](const Error& error) {
      LOG(ERROR) << Escape(error.Message(), 1024) << ": the machine can't go on without this memory";
      ::_exit(kKvmError);
    };
  }
  HMVM_TRY_ASSIGN(const auto machine, flags.machine.restore ? Machine::Restore(std::move(flags.machine))
                                                            : Machine::Create(std::move(flags.machine)));

  Control control(*loop, *machine, std::move(flags.files), started_monotonic_ns);
  if (flags.control.valid()) HMVM_TRY(control.Serve(std::move(flags.control)));
  HMVM_TRY(machine->Start([&] { loop->Stop(); }, flags.paused));
  HMVM_TRY_ASSIGN(const Watch signal_watch, signals.Listen(*loop, [&] { machine->Stop(); }));
  HMVM_TRY(loop->Run());

  const MachineOutcome outcome = machine->Wait();
  LogReport(outcome.report);
  return StatusOf(outcome.end);
}

}  // namespace
}  // namespace hmvm

int main(int argc, char** argv) {
  timespec started;
  ::clock_gettime(CLOCK_MONOTONIC, &started);
  hmvm::InitLog(argv[0]);
  const auto status = hmvm::Run(
      argc, argv,
      static_cast<uint64_t>(started.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(started.tv_nsec));
  if (!status.has_value()) {
    LOG(ERROR) << hmvm::Escape(status.error().Message(), 1024);
    return hmvm::kSetUpFailed;
  }
  return *status;
}
