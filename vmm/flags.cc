#include "vmm/flags.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>

#include <gflags/gflags.h>

#include "base/file.h"
#include "security/fd_class.h"
#include "security/syscall_rule_text.h"
#include "vmm/api/vmm.pb.h"

DEFINE_string(kernel, "", "vmlinux or bzImage of the guest: a path or fd:N");
DEFINE_string(initrd, "", "initial RAM file system: a path or fd:N");
DEFINE_string(cmdline, "", "further arguments for the guest kernel");
DEFINE_uint32(cpus, 1,
              "number of vCPUs; with --restore: the first ones of the snapshot's, whose others are off "
              "(default: all)");
DEFINE_uint64(
    memory_mib, 256,
    "guest memory in MiB; with --restore: all there is to be, where the guest takes more (default: as "
    "much as there was)");
DEFINE_uint64(memory_limit_mib, 0, "up to which restores of the machine may add memory (default: none)");
DEFINE_string(platform, "auto", "auto, hardware or ring3");
DEFINE_string(disks, "",
              "disks in the order of their names, vda first: ro:F, rw:F or none for an empty drive, with "
              "commas between");
DEFINE_string(
    io_limits, "",
    "limits of disks, with commas between: vda.read_bps=N, and write_bps, read_iops, write_iops; bytes "
    "and operations a second");
DEFINE_string(vsock_listener, "",
              "UNIX socket for connections to the guest (CONNECT <port>): a path or fd:N of a listening one");
DEFINE_string(agent, "", "fd:N, a connected socket for the guest's first connection to CID 2 port 1024");
DEFINE_uint64(guest_cid, 3, "the guest's vsock address");
DEFINE_string(console, "", "where the guest's console output goes: a path or fd:N");
DEFINE_string(control, "", "fd:N, a connected socket for the control API; when it closes the machine stops");
DEFINE_string(restore, "", "a snapshot's machine.pb to go on from, in place of a kernel: a path or fd:N");
DEFINE_string(memory, "",
              "with --restore: the snapshot's memory files, the full one first, with commas between");
DEFINE_string(archive, "",
              "an exported snapshot to go on from, in place of --restore and --memory: a path or fd:N");
DEFINE_bool(
    memory_verified, false,
    "with --restore: the memory files were restored before and have not been changed since, so do not "
    "read all of them again to see whether they are damaged");
DEFINE_string(working_set, "",
              "with --restore: a path or fd:N of what DescribeWorkingSet answered of an earlier restore");
DEFINE_bool(paused, false, "hold the machine from its start until the control API resumes it");
DEFINE_string(files, "", "fd:N, a SOCK_SEQPACKET socket by which files for requests of the control API come");
DEFINE_string(kvm, "/dev/kvm", "KVM: a path or fd:N");
DEFINE_string(
    jail, "",
    "USER,fd:N: run as this user id, from an empty root, without rights; N holds the lock of the id. Only in "
    "namespaces of its own");
DEFINE_string(seccomp, "kill",
              "with --jail: what becomes of a system call that is not in the table: kill, log or off");
DEFINE_string(syscalls, "",
              "with --jail: further system calls that are allowed (security/syscall_rule_text.h)");
DEFINE_string(inspect_snapshot, "", "print what a snapshot's machine.pb says, as JSON, and exit");
DEFINE_bool(probe, false, "print what this host's KVM can do, as JSON, and exit");

namespace hmvm {
namespace {

Result<UniqueFd> OpenFlag(const std::string& value, int flags) {
  if (value.empty()) return UniqueFd();
  return OpenArgument(value, flags);
}

Result<NamedFile> OpenNamed(const char* what, const std::string& value, int flags) {
  auto fd = OpenArgument(value, flags);
  if (!fd.has_value()) return Wrap(what, fd.error());
  return NamedFile{value, std::move(*fd)};
}

Result<PlatformChoice> ParsePlatform(const std::string& name) {
  if (name == "auto") return PlatformChoice::kAuto;
  if (name == "hardware") return PlatformChoice::kHardware;
  if (name == "ring3") return PlatformChoice::kRing3;
  return Error{0, "--platform=" + name + ": not one of auto, hardware, ring3"};
}

// A hint: what is no working set is none.
PageRuns ReadWorkingSet(const std::string& file) {
  constexpr size_t kLimitBytes = 1 << 20;
  PageRuns pages;
  const auto fd = OpenFlag(file, O_RDONLY);
  if (!fd.has_value() || !fd->valid()) return pages;
  std::string text(kLimitBytes, '\0');
  const auto got = ReadFull(fd->get(), std::as_writable_bytes(std::span(text)));
  vmm::v1::WorkingSet set;
  if (!got.has_value() || !set.ParseFromArray(text.data(), static_cast<int>(*got))) return pages;
  for (const vmm::v1::PageRun& run : set.runs()) pages.Append({run.first(), run.count()});
  return pages;
}

Result<RestoreConfig> OpenSnapshot(const std::string& state, const std::string& memory) {
  RestoreConfig config;
  HMVM_TRY_ASSIGN(config.state, OpenNamed("snapshot", state, O_RDONLY));
  if (memory.empty()) return Error{0, "--restore without --memory"};
  config.memory_verified = FLAGS_memory_verified;
  config.working_set = ReadWorkingSet(FLAGS_working_set);
  for (size_t start = 0; start <= memory.size();) {
    const size_t end = std::min(memory.find(',', start), memory.size());
    HMVM_TRY_ASSIGN(NamedFile file, OpenNamed("snapshot", memory.substr(start, end - start), O_RDONLY));
    config.memory.push_back(std::move(file));
    start = end + 1;
  }
  return config;
}

Result<UniqueFd> OpenConsole(const std::string& value) {
  if (value.empty() || value.starts_with("fd:")) return OpenFlag(value, O_WRONLY);
  return OpenFile(value, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
}

Result<UniqueFd> OpenVsockListener(const std::string& value) {
  if (value.empty() || value.starts_with("fd:")) return OpenFlag(value, O_RDWR);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (value.size() >= sizeof(address.sun_path)) return Error{ENAMETOOLONG, "vsock socket '" + value + "'"};
  value.copy(address.sun_path, value.size());
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // SAFETY: sockaddr is how the socket API spells any address.
  if (!listener.valid() ||
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0 ||
      ::listen(listener.get(), SOMAXCONN) < 0) {
    return Error{errno, "listen on vsock socket '" + value + "'"};
  }
  return listener;
}

Result<std::optional<Flags::JailFlags>> OpenJail(const std::string& value) {
  if (value.empty()) return std::nullopt;
  Flags::JailFlags jail;
  const char* const end = value.data() + value.size();
  const auto [rest, code] = std::from_chars(value.data(), end, jail.user);
  const std::string_view lock(rest, end);
  if (code != std::errc() || jail.user == 0 || !lock.starts_with(",fd:")) {
    return Error{0, "--jail='" + value + "' is not USER,fd:N"};
  }
  HMVM_TRY_ASSIGN(jail.lock, OpenArgument(std::string(lock.substr(1)), O_RDONLY));
  return jail;
}

uint64_t* LimitNamed(IoLimits& limits, std::string_view name) {
  if (name == "read_bps") return &limits.read_bytes_per_s;
  if (name == "write_bps") return &limits.write_bytes_per_s;
  if (name == "read_iops") return &limits.read_operations_per_s;
  if (name == "write_iops") return &limits.write_operations_per_s;
  return nullptr;
}

}  // namespace

Result<std::vector<DiskArgument>> ParseDisks(const std::string& text) {
  std::vector<DiskArgument> disks;
  if (text.empty()) return disks;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    const std::string disk = text.substr(start, end - start);
    start = end + 1;
    if (disk == "none") {
      disks.push_back({.file = "", .read_only = true});
      continue;
    }
    const bool read_only = disk.starts_with("ro:");
    if ((!read_only && !disk.starts_with("rw:")) || disk.size() == 3) {
      return Error{0, "--disks: '" + disk + "' is none of ro:FILE, rw:FILE, none"};
    }
    disks.push_back({disk.substr(3), read_only});
  }
  return disks;
}

Result<std::vector<IoLimits>> ParseIoLimits(const std::string& text, size_t disks) {
  std::vector<IoLimits> limits(disks);
  if (text.empty()) return limits;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    const std::string part = text.substr(start, end - start);
    start = end + 1;
    const Error error{0, "--io_limits: '" + part + "' is not DISK.{read,write}_{bps,iops}=NUMBER"};
    const size_t dot = part.find('.');
    const size_t equals = part.find('=');
    if (dot == std::string::npos || equals == std::string::npos || equals < dot) return error;
    const std::string disk = part.substr(0, dot);
    if (disk.size() != 3 || !disk.starts_with("vd") || disk[2] < 'a' ||
        static_cast<size_t>(disk[2] - 'a') >= disks) {
      return Error{0, "--io_limits: there is no disk '" + disk + "'"};
    }
    uint64_t* const limit = LimitNamed(limits[static_cast<size_t>(disk[2] - 'a')],
                                       std::string_view(part).substr(dot + 1, equals - dot - 1));
    const char* const number = part.data() + equals + 1;
    const char* const number_end = part.data() + part.size();
    uint64_t rate = 0;
    const auto [rest, code] = std::from_chars(number, number_end, rate);
    if (limit == nullptr || code != std::errc() || rest != number_end || rate == 0) return error;
    *limit = rate;
  }
  return limits;
}

Result<Flags> ParseFlags(int argc, char** argv) {
  google::SetUsageMessage("runs one microVM until the guest, a signal or the control channel ends it");
  google::ParseCommandLineFlags(&argc, &argv, true);
  if (argc > 1) return Error{0, std::string("unexpected argument '") + argv[1] + "'"};

  Flags flags;
  flags.probe = FLAGS_probe;
  if (flags.probe) return flags;
  if (!FLAGS_inspect_snapshot.empty()) {
    HMVM_TRY_ASSIGN(flags.inspect, OpenArgument(FLAGS_inspect_snapshot, O_RDONLY));
    return flags;
  }
  MachineConfig& machine = flags.machine;
  // First, so that whatever else is wrong, the other end sees the channel close.
  HMVM_TRY_ASSIGN(flags.control, OpenFlag(FLAGS_control, O_RDWR));
  HMVM_TRY_ASSIGN(flags.files, OpenFlag(FLAGS_files, O_RDWR));
  flags.paused = FLAGS_paused;
  flags.kvm = FLAGS_kvm;
  HMVM_TRY_ASSIGN(flags.jail, OpenJail(FLAGS_jail));
  HMVM_TRY_ASSIGN(flags.seccomp, ParseSeccompMode(FLAGS_seccomp));
  HMVM_TRY_ASSIGN(flags.syscalls, ParseSyscallRules(FLAGS_syscalls));
  if (!flags.jail.has_value()) flags.seccomp = SeccompMode::kOff;
  if (!FLAGS_archive.empty()) {
    HMVM_TRY_ASSIGN(machine.restore.emplace().archive, OpenNamed("snapshot", FLAGS_archive, O_RDONLY));
  } else if (!FLAGS_restore.empty()) {
    HMVM_TRY_ASSIGN(machine.restore, OpenSnapshot(FLAGS_restore, FLAGS_memory));
  } else {
    if (FLAGS_kernel.empty()) return Error{0, "--kernel is missing"};
    HMVM_TRY_ASSIGN(machine.kernel, OpenNamed("kernel", FLAGS_kernel, O_RDONLY));
  }
  if (!FLAGS_initrd.empty()) {
    HMVM_TRY_ASSIGN(machine.initrd, OpenNamed("initrd", FLAGS_initrd, O_RDONLY));
  }
  if (machine.restore.has_value() && !google::GetCommandLineFlagInfoOrDie("cpus").is_default) {
    machine.restore->cpus = FLAGS_cpus;
  }
  if (machine.restore.has_value() && !google::GetCommandLineFlagInfoOrDie("memory_mib").is_default) {
    machine.restore->memory_mib = FLAGS_memory_mib;
  }
  machine.command_line = FLAGS_cmdline;
  machine.cpus = FLAGS_cpus;
  machine.memory_mib = FLAGS_memory_mib;
  machine.memory_limit_mib = FLAGS_memory_limit_mib;
  HMVM_TRY_ASSIGN(machine.platform, ParsePlatform(FLAGS_platform));
  HMVM_TRY_ASSIGN(const std::vector<DiskArgument> disks, ParseDisks(FLAGS_disks));
  HMVM_TRY_ASSIGN(const std::vector<IoLimits> limits, ParseIoLimits(FLAGS_io_limits, disks.size()));
  for (size_t i = 0; i < disks.size(); ++i) {
    const DiskArgument& disk = disks[i];
    NamedFile file{.name = "none", .fd = {}};
    if (!disk.file.empty()) {
      HMVM_TRY_ASSIGN(file, OpenNamed("disk", disk.file, disk.read_only ? O_RDONLY : O_RDWR));
    }
    machine.disks.push_back({std::move(file), disk.read_only, limits[i]});
  }
  HMVM_TRY_ASSIGN(machine.vsock_listener, OpenVsockListener(FLAGS_vsock_listener));
  HMVM_TRY_ASSIGN(machine.agent, OpenFlag(FLAGS_agent, O_RDWR));
  machine.guest_cid = FLAGS_guest_cid;
  HMVM_TRY_ASSIGN(machine.console, OpenConsole(FLAGS_console));
  return flags;
}

std::vector<int> Flags::OpenFiles() const {
  std::vector<int> files = {control.get(),           this->files.get(),
                            machine.kernel.fd.get(), machine.vsock_listener.get(),
                            machine.agent.get(),     machine.console.get()};
  if (jail.has_value()) files.push_back(jail->lock.get());
  if (machine.initrd.has_value()) files.push_back(machine.initrd->fd.get());
  for (const DiskConfig& disk : machine.disks) files.push_back(disk.file.fd.get());
  if (machine.restore.has_value()) {
    files.push_back(machine.restore->state.fd.get());
    for (const NamedFile& file : machine.restore->memory) files.push_back(file.fd.get());
    if (machine.restore->archive.has_value()) files.push_back(machine.restore->archive->fd.get());
  }
  return files;
}

Result<> Flags::PlaceFiles() {
  std::vector<std::pair<UniqueFd*, const FdClass*>> places = {{&control, &fd_class::kControl},
                                                              {&files, &fd_class::kFiles},
                                                              {&machine.kernel.fd, &fd_class::kUntouched},
                                                              {&machine.vsock_listener, &fd_class::kListener},
                                                              {&machine.agent, &fd_class::kAgent},
                                                              {&machine.console, &fd_class::kConsole}};
  if (jail.has_value()) places.emplace_back(&jail->lock, &fd_class::kUntouched);
  if (machine.initrd.has_value()) places.emplace_back(&machine.initrd->fd, &fd_class::kUntouched);
  for (DiskConfig& disk : machine.disks) places.emplace_back(&disk.file.fd, &fd_class::kDisks);
  if (machine.restore.has_value()) {
    places.emplace_back(&machine.restore->state.fd, &fd_class::kSnapshot);
    for (NamedFile& file : machine.restore->memory) places.emplace_back(&file.fd, &fd_class::kSnapshot);
    if (machine.restore->archive.has_value()) {
      places.emplace_back(&machine.restore->archive->fd, &fd_class::kSnapshot);
    }
  }
  for (const auto& [fd, to] : places) {
    HMVM_TRY_ASSIGN(*fd, Place(*to, std::move(*fd)));
  }
  return {};
}

}  // namespace hmvm
