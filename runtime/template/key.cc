#include "runtime/template/key.h"

#include <cpuid.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "runtime/container/resources.h"

namespace hmvm {
namespace {

std::string Line(const char* what, const std::string& value) {
  return std::string(what) + ": " + value + "\n";
}

std::string TimeText(const timespec& time) {
  char text[48];
  std::snprintf(text, sizeof(text), "%lld.%09ld", static_cast<long long>(time.tv_sec), time.tv_nsec);
  return text;
}

Result<std::string> FileLine(const char* what, const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) < 0) return Error{errno, "look at '" + path + "'"};
  return Line(what, path + " device " + std::to_string(status.st_dev) + " inode " +
                        std::to_string(status.st_ino) + " size " + std::to_string(status.st_size) +
                        " modified " + TimeText(status.st_mtim) + " changed " + TimeText(status.st_ctim));
}

// Family, model, stepping and features, as far as they are the same on all of the host's CPUs. The VMM checks
// the rest against the snapshot itself.
std::string ProcessorText() {
  char text[80];
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0, features7 = 0, unused = 0;
  __get_cpuid(1, &eax, &ebx, &ecx, &edx);
  __get_cpuid_count(7, 0, &unused, &features7, &unused, &unused);
  std::snprintf(text, sizeof(text), "signature %08x features %08x %08x %08x", eax, ecx, edx, features7);
  return text;
}

std::string HashText(const std::string& text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  char digits[33];
  std::snprintf(digits, sizeof(digits), "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return digits;
}

}  // namespace

GrowthLimits GrowthLimits::Find() {
  // Of the ring3 platform; and the guest keeps memory for each processor.
  constexpr uint32_t kMostCpus = 8;
  constexpr uint64_t kMostMib = 256 << 10;
  struct sysinfo host = {};
  ::sysinfo(&host);
  const uint64_t host_mib = uint64_t{host.totalram} * host.mem_unit >> 20;
  return {.cpus = std::min(kMostCpus, HostProcessors::Find().count),
          .memory_mib = static_cast<uint32_t>(std::min(kMostMib, host_mib))};
}

std::optional<TemplateMachine> GrowingMachine(const TemplateMachine& exact) {
  constexpr uint32_t kMemoryMib = 256;  // of containers that ask for no other size
  const GrowthLimits limits = GrowthLimits::Find();
  if (exact.cpus > limits.cpus || exact.memory_mib < kMemoryMib || exact.memory_mib > limits.memory_mib) {
    return std::nullopt;
  }
  TemplateMachine machine = exact;
  machine.cpus = 1;
  machine.memory_mib = kMemoryMib;
  machine.grows = true;
  return machine;
}

Result<TemplateKey> MakeTemplateKey(const TemplateMachine& machine) {
  TemplateKey key{.machine = machine, .id = {}, .text = {}};
  utsname host = {};
  if (::uname(&host) < 0) return Error{errno, "uname"};
  HMVM_TRY_ASSIGN(const std::string vmm, FileLine("vmm", machine.vmm_program));
  HMVM_TRY_ASSIGN(const std::string kernel, FileLine("kernel", machine.kernel));
  HMVM_TRY_ASSIGN(const std::string initramfs, FileLine("initramfs", machine.initramfs));
  key.text = vmm + kernel + initramfs + Line("platform", machine.platform) +
             Line("cpus", std::to_string(machine.cpus)) +
             Line("memory MiB", std::to_string(machine.memory_mib)) +
             Line("grows", machine.grows ? std::to_string(GrowthLimits::Find().cpus) + " cpus" : "no") +
             Line("host kernel", std::string(host.release) + " " + host.version) +
             Line("processor", ProcessorText());
  key.id = HashText(key.text);
  return key;
}

}  // namespace hmvm
