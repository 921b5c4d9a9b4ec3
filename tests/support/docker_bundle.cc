#include "tests/support/docker_bundle.h"

#include <sys/socket.h>

#include <fstream>
#include <stdexcept>
#include <utility>

#include <nlohmann/json.hpp>

#include "security/container/capability_options.h"
#include "security/container/syscall_names.h"
#include "tests/support/child.h"

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const char* NameOf(ArgumentTest::Compare compare) {
  switch (compare) {
    case ArgumentTest::Compare::kEqual:
      return "SCMP_CMP_EQ";
    case ArgumentTest::Compare::kNotEqual:
      return "SCMP_CMP_NE";
    case ArgumentTest::Compare::kLess:
      return "SCMP_CMP_LT";
    case ArgumentTest::Compare::kLessOrEqual:
      return "SCMP_CMP_LE";
    case ArgumentTest::Compare::kGreater:
      return "SCMP_CMP_GT";
    case ArgumentTest::Compare::kGreaterOrEqual:
      return "SCMP_CMP_GE";
    case ArgumentTest::Compare::kMaskedEqual:
      return "SCMP_CMP_MASKED_EQ";
  }
  return "";
}

// docker's default has these two verdicts and no other.
void SetVerdict(json& rule, const char* action, const char* error, SeccompVerdict verdict) {
  const bool allowed = verdict == SECCOMP_RET_ALLOW;
  rule[action] = allowed ? "SCMP_ACT_ALLOW" : "SCMP_ACT_ERRNO";
  if (!allowed) rule[error] = verdict & SECCOMP_RET_DATA;
}

json Seccomp(const SeccompProfile& profile) {
  json result = {{"architectures", {"SCMP_ARCH_X86_64"}}, {"syscalls", json::array()}};
  SetVerdict(result, "defaultAction", "defaultErrnoRet", profile.otherwise);
  // Of sockets, docker's three rules: what is refused as all else is no rule of its own to libseccomp.
  const int socket = FindSyscall("socket")->number.value();
  for (const auto& [compare, kind] : {std::pair("SCMP_CMP_LT", AF_ALG), std::pair("SCMP_CMP_EQ", AF_NFC),
                                      std::pair("SCMP_CMP_GT", AF_VSOCK)}) {
    result["syscalls"].push_back({{"names", {"socket"}},
                                  {"action", "SCMP_ACT_ALLOW"},
                                  {"args", {{{"index", 0}, {"op", compare}, {"value", kind}}}}});
  }
  for (const SeccompRow& row : profile.rows) {
    if (row.calls == std::vector{socket}) continue;
    const uint64_t has = DefaultCapabilities();
    if ((has & row.needs) != row.needs || (has & row.without) != 0) continue;
    json rule = {{"names", json::array()}};
    for (const int call : row.calls) rule["names"].push_back(NameOfSyscall(call));
    SetVerdict(rule, "action", "errnoRet", row.verdict);
    for (const ArgumentTest& check : row.checks) {
      const bool masked = check.compare == ArgumentTest::Compare::kMaskedEqual;
      rule["args"].push_back({{"index", check.index},
                              {"op", NameOf(check.compare)},
                              {"value", masked ? check.mask : check.value},
                              {"valueTwo", masked ? check.value : 0}});
    }
    result["syscalls"].push_back(std::move(rule));
  }
  return result;
}

json Mount(const char* where, const char* type, std::vector<std::string> options) {
  return {{"destination", where}, {"type", type}, {"source", type}, {"options", std::move(options)}};
}

json Device(const char* type, int major, int minor) {
  return {{"allow", true}, {"type", type}, {"major", major}, {"minor", minor}, {"access", "rwm"}};
}

json Config(const fs::path& folder, const std::vector<std::string>& arguments,
            const SeccompProfile& seccomp) {
  const json capabilities = {
      "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",     "CAP_MKNOD",
      "CAP_NET_RAW", "CAP_SETGID",       "CAP_SETUID",           "CAP_SETFCAP",    "CAP_SETPCAP",
      "CAP_KILL",    "CAP_SYS_CHROOT",   "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"};
  json mounts = {
      Mount("/proc", "proc", {"nosuid", "noexec", "nodev"}),
      Mount("/dev", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      Mount("/dev/pts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
      Mount("/sys", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
      Mount("/sys/fs/cgroup", "cgroup", {"ro", "nosuid", "noexec", "nodev"}),
      Mount("/dev/mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
      Mount("/dev/shm", "tmpfs", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"})};
  for (const char* name : {"hostname", "hosts", "resolv.conf"}) {
    const fs::path file = folder / name;
    std::ofstream(file) << "\n";
    json mount = Mount("", "bind", {"rbind", "rprivate"});
    mount["destination"] = std::string("/etc/") + name;
    mount["source"] = file;
    mounts.push_back(std::move(mount));
  }
  json namespaces;
  for (const char* type : {"mount", "network", "uts", "pid", "ipc", "cgroup"}) {
    namespaces.push_back({{"type", type}});
  }
  return {{"ociVersion", "1.0.2"},
          {"hostname", "box"},
          {"root", {{"path", "rootfs"}, {"readonly", false}}},
          {"process",
           {{"user", {{"uid", 0}, {"gid", 0}, {"additionalGids", {0}}}},
            {"args", arguments},
            {"cwd", "/"},
            {"env", {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
            {"capabilities",
             {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
            {"oomScoreAdj", 0}}},
          {"mounts", std::move(mounts)},
          {"linux",
           {{"namespaces", std::move(namespaces)},
            {"resources",
             {{"devices",
               {{{"allow", false}, {"access", "rwm"}},
                Device("c", 1, 5),
                Device("c", 1, 3),
                Device("c", 1, 9),
                Device("c", 1, 8),
                Device("c", 5, 0),
                Device("c", 5, 1),
                {{"allow", false}, {"type", "c"}, {"major", 10}, {"minor", 229}, {"access", "rwm"}}}}}},
            {"maskedPaths",
             {"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
              "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
              "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}},
            {"readonlyPaths", {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}},
            {"seccomp", Seccomp(seccomp)}}}};
}

}  // namespace

void MakeDockerBundle(const fs::path& folder, const fs::path& layout,
                      const std::vector<std::string>& arguments, const SeccompProfile& seccomp) {
  fs::create_directories(folder / "rootfs");
  const Outcome unpacked =
      RunProgram({"/bin/sh", "-c", "tar -xzf \"$(ls -S \"$1\"/blobs/sha256/* | head -n 1)\" -C \"$2\"", "sh",
                  layout, folder / "rootfs"});
  if (unpacked.exit_code != 0) throw std::runtime_error(Describe(unpacked));  // the test fails with it
  std::ofstream(folder / "config.json") << Config(folder, arguments, seccomp).dump();
}

}  // namespace hmvm::test
