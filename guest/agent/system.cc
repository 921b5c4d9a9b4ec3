#include "guest/agent/system.h"

#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>

#include "base/file.h"
#include "guest/agent/cgroup.h"

namespace hmvm::agent {
namespace {

Result<> Mount(const char* type, const char* target, unsigned long flags) {
  if (::mount(type, target, type, flags, "") < 0) {
    return Error{errno, std::string("mount ") + type + " on '" + target + "'"};
  }
  return {};
}

// A setting of the kernel's; one that does not know it is no worse than it was.
void Tune(const std::string& path, std::string_view value) {
  const auto setting = OpenFile(path, O_WRONLY);
  if (setting.has_value()) (void)WriteAll(setting->get(), value).has_value();
}

void TuneKernel() {
  // Anonymous memory in folios: on the ring3 platform, which has no huge pages, a first touch costs a tenth.
  // 128 KiB, and less where that does not fit.
  for (const char* size : {"128kB", "64kB", "32kB", "16kB"}) {
    Tune(std::string("/sys/kernel/mm/transparent_hugepage/hugepages-") + size + "/enabled", "always");
  }
  // No compaction ahead of need: looking whether there is any, twice a second, is nearly all that an idle
  // guest does, and there are thousands of these on a host.
  Tune("/proc/sys/vm/compaction_proactiveness", "0");
  // The image's files are read in larger pieces than the kernel's 128 KiB: what waits is the start of a
  // program, and most of a read's time is the way to the host and back.
  Tune("/sys/block/vda/queue/read_ahead_kb", "512");
  // docker's defaults for a network of the container's own: who is not root may listen on port 80 and send
  // pings.
  Tune("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
  Tune("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
}

// pivot_root(2) refuses to leave the kernel's own first root, in which we start: go to a bind mount of it.
Result<> LeaveFirstRoot() {
  if (::mount("/", "/root", "", MS_BIND, nullptr) < 0 || ::chdir("/root") < 0 ||
      ::mount(".", "/", "", MS_MOVE, nullptr) < 0 || ::chroot(".") < 0 || ::chdir("/") < 0) {
    return Error{errno, "leave the first root"};
  }
  return {};
}

Result<> BringLoopbackUp() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Error{errno, "create socket"};
  ifreq request = {};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) < 0) return Error{errno, "bring 'lo' up"};
  return {};
}

}  // namespace

Result<> PrepareSystem() {
  HMVM_TRY(LeaveFirstRoot());
  HMVM_TRY(Mount("proc", "/proc", MS_NOSUID | MS_NOEXEC | MS_NODEV));
  HMVM_TRY(Mount("devtmpfs", "/dev", MS_NOSUID));
  HMVM_TRY(Mount("sysfs", "/sys", MS_NOSUID | MS_NOEXEC | MS_NODEV));
  HMVM_TRY(Mount("cgroup2", kCgroupRoot, MS_NOSUID | MS_NOEXEC | MS_NODEV));
  EnableControllers();
  TuneKernel();
  // Descriptors of all streams of all processes; containers set their own limit.
  const rlimit files = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
  ::setrlimit(RLIMIT_NOFILE, &files);
  return BringLoopbackUp();
}

void KillEverything() {
  ::kill(-1, SIGKILL);
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
}

void CutPower() {
  ::sync();
  ::reboot(RB_POWER_OFF);
}

Result<> BringUpProcessors(uint32_t count) {
  for (uint32_t processor = 1; processor < count; ++processor) {
    const std::string name = "/sys/devices/system/cpu/cpu" + std::to_string(processor) + "/online";
    HMVM_TRY_ASSIGN(const UniqueFd online, OpenFile(name, O_WRONLY));
    const auto written = WriteAll(online.get(), "1");
    if (!written.has_value()) return Wrap("'" + name + "'", written.error());
  }
  return {};
}

uint64_t MemoryTotalBytes() {
  const std::string meminfo = ReadFile("/proc/meminfo").value_or("");  // begins "MemTotal:     123 kB"
  return std::strtoull(meminfo.c_str() + std::min(meminfo.size(), meminfo.find(':') + 1), nullptr, 10) * 1024;
}

}  // namespace hmvm::agent
