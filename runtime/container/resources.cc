#include "runtime/container/resources.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <thread>

#include "base/file.h"
#include "base/size.h"

namespace hmvm {
namespace {

constexpr char kImageDevice[] = "/dev/vda";
constexpr uint64_t kMinQuotaUs = 1000;  // what the kernel takes at least
constexpr uint32_t kMinShares = 2;
constexpr uint32_t kMaxShares = 262144;
constexpr uint32_t kMaxCpuNumber = 8191;  // CONFIG_NR_CPUS at most
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kMinMemoryBytes = 6 * kMiB;

template <typename Number>
bool ParseWhole(std::string_view text, Number& number) {
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, number);
  return code == std::errc() && rest == end;
}

std::string Quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

}  // namespace

Result<uint64_t> ParseCpuQuota(std::string_view text) {
  constexpr size_t kMaxDigits = 9;  // of either side: no overflow, and a billionth is docker's unit
  const Error error{0, "cpus " + Quoted(text) + ": the number of cpus must be 0.01 or more, as 2 or 1.5"};
  const size_t dot = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, dot);
  const std::string_view fraction = text.substr(std::min(dot + 1, text.size()));
  if (whole.size() > kMaxDigits || fraction.size() > kMaxDigits || whole.size() + fraction.size() == 0)
    return error;
  uint64_t cpus = 0;
  uint64_t part = 0;
  if (!whole.empty() && !ParseWhole(whole, cpus)) return error;
  if (!fraction.empty() && !ParseWhole(fraction, part)) return error;
  uint64_t unit = 1;
  for (size_t digit = 0; digit < fraction.size(); ++digit) unit *= 10;
  const uint64_t quota_us = cpus * kCpuPeriodUs + (part * kCpuPeriodUs + unit / 2) / unit;
  if (quota_us < kMinQuotaUs) return error;
  return quota_us;
}

Result<uint32_t> ParseCpuShares(std::string_view text) {
  uint32_t shares = 0;
  if (!ParseWhole(text, shares)) return Error{0, Quoted(text) + " is no number"};
  if (shares == 0) return shares;
  if (shares < kMinShares)
    return Error{0, Quoted(text) + ": the minimum allowed cpu-shares is " + std::to_string(kMinShares)};
  if (shares > kMaxShares)
    return Error{0, Quoted(text) + ": the maximum allowed cpu-shares is " + std::to_string(kMaxShares)};
  return shares;
}

Result<std::vector<uint32_t>> ParseCpuset(std::string_view text) {
  const Error error{0,
                    Quoted(text) + ": invalid value for cpuset cpus, which are numbers and ranges as 0-2,5"};
  std::set<uint32_t> cpus;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    const std::string_view part = text.substr(start, end - start);
    start = end + 1;
    const size_t dash = std::min(part.find('-'), part.size());
    uint32_t first = 0;
    if (!ParseWhole(part.substr(0, dash), first)) return error;
    uint32_t last = first;
    if (dash != part.size() && !ParseWhole(part.substr(dash + 1), last)) return error;
    if (last < first || last > kMaxCpuNumber) return error;
    for (uint32_t cpu = first; cpu <= last; ++cpu) cpus.insert(cpu);
  }
  return std::vector<uint32_t>(cpus.begin(), cpus.end());
}

Result<uint32_t> ParsePidsLimit(std::string_view text) {
  int64_t limit = 0;
  if (!ParseWhole(text, limit) || limit < -1 || limit > INT32_MAX) {
    return Error{0, Quoted(text) + " is no number of processes; -1 sets no limit"};
  }
  return static_cast<uint32_t>(std::max<int64_t>(limit, 0));
}

Result<int64_t> ParseMemorySwap(std::string_view text) {
  if (text == "-1") return -1;
  HMVM_TRY_ASSIGN(const uint64_t bytes, ParseSize(text));
  if (bytes > INT64_MAX) return Error{0, Quoted(text) + " is too large"};
  return static_cast<int64_t>(bytes);
}

Result<DeviceRate> ParseDeviceRate(std::string_view text, bool bytes) {
  const Error error{0, Quoted(text) + ": bad format, the correct one is <device-path>:<number>" +
                           (bytes ? "[kb|mb|gb]" : "") + ", the number positive"};
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return error;
  DeviceRate rate{.device = std::string(text.substr(0, colon)), .per_s = 0};
  const std::string_view number = text.substr(colon + 1);
  if (bytes) {
    const auto size = ParseSize(number);
    if (!size.has_value()) return error;
    rate.per_s = *size;
  } else if (!ParseWhole(number, rate.per_s)) {
    return error;
  }
  if (rate.per_s == 0 || !rate.device.starts_with("/dev/")) return error;
  if (rate.device != kImageDevice) {
    return Error{0, Quoted(text) + ": the one disk of a container is " + kImageDevice +
                        ", its image; what it writes stays in its memory"};
  }
  return rate;
}

uint32_t CpusForQuota(uint64_t quota_us) {
  return static_cast<uint32_t>((quota_us + kCpuPeriodUs - 1) / kCpuPeriodUs);
}

HostProcessors HostProcessors::Find() {
  HostProcessors host{.count = std::max(1U, std::thread::hardware_concurrency()), .online = ""};
  const auto online = ReadFile("/sys/devices/system/cpu/online");
  if (online.has_value()) host.online = online->substr(0, online->find('\n'));
  return host;
}

Result<> CheckResources(const Resources& resources, uint32_t cpus, uint64_t memory_bytes,
                        const HostProcessors& host) {
  if (cpus > host.count || resources.cpu_quota_us > host.count * kCpuPeriodUs) {
    const std::string count = std::to_string(host.count);
    return Error{0, "--cpus: range of CPUs is from 0.01 to " + count + ".00, as there are only " + count +
                        " CPUs available on this host, not " + std::to_string(cpus)};
  }
  if (!resources.cpuset_cpus.empty() && !host.online.empty()) {
    HMVM_TRY_ASSIGN(const std::vector<uint32_t> wanted, ParseCpuset(resources.cpuset_cpus));
    HMVM_TRY_ASSIGN(const std::vector<uint32_t> available, ParseCpuset(host.online));
    if (!std::ranges::includes(available, wanted)) {
      return Error{0, "--cpuset-cpus: requested CPUs are not available: requested " + resources.cpuset_cpus +
                          ", available: " + host.online};
    }
  }
  if (memory_bytes < kMinMemoryBytes) {
    return Error{0, "--memory: minimum memory limit allowed is 6MB, not " + FormatSize(memory_bytes)};
  }
  if (resources.memory_swap_bytes > 0 && static_cast<uint64_t>(resources.memory_swap_bytes) < memory_bytes) {
    return Error{
        0, "--memory-swap: it is memory and swap together, so it should be larger than the memory limit of " +
               FormatSize(memory_bytes)};
  }
  return {};
}

std::vector<std::string> ResourceWarnings(const Resources& resources, uint64_t memory_bytes) {
  std::vector<std::string> warnings;
  if (resources.memory_swap_bytes == -1 ||
      static_cast<uint64_t>(resources.memory_swap_bytes) > memory_bytes) {
    warnings.emplace_back(
        "--memory-swap: the guest has no swap, so the container gets no more than --memory; the option says "
        "how much "
        "of that the host may swap out");
  }
  if (!resources.device_write_bps.empty() || !resources.device_write_iops.empty()) {
    warnings.emplace_back(std::string("limits of writing have no effect on ") + kImageDevice +
                          ", which is read-only: what a container writes stays in its memory");
  }
  return warnings;
}

CgroupLimits HostLimits(const Resources& resources, uint64_t memory_bytes) {
  // Beside the guest's memory: the VMM itself, its and KVM's page tables (which shadow the guest's own on the
  // ring3 platform), the page cache of the image.
  constexpr uint64_t kVmmBytes = 128 * kMiB;
  CgroupLimits limits{
      .cpu_quota_us = resources.cpu_quota_us,
      .cpu_shares = resources.cpu_shares,
      .cpus = resources.cpuset_cpus,
      .memory_bytes = memory_bytes + memory_bytes / 4 +
                      (resources.vmm_memory_bytes == 0 ? kVmmBytes : resources.vmm_memory_bytes)};
  if (resources.memory_swap_bytes > 0) {
    limits.swap_bytes = static_cast<uint64_t>(resources.memory_swap_bytes) - memory_bytes;
  }
  return limits;
}

uint64_t GuestMemoryMax(uint64_t memory_bytes) {
  // The kernel's code and data, its page structures (a 64th), the agent.
  constexpr uint64_t kKernelBytes = 32 * kMiB;
  const uint64_t kept_bytes = kKernelBytes + memory_bytes / 32;
  return std::max(memory_bytes, 2 * kept_bytes) - kept_bytes;
}

std::string IoLimitsFlag(const Resources& resources) {
  std::string flag;
  for (const auto& [rates, name] : {std::pair(&resources.device_read_bps, "read_bps"),
                                    std::pair(&resources.device_write_bps, "write_bps"),
                                    std::pair(&resources.device_read_iops, "read_iops"),
                                    std::pair(&resources.device_write_iops, "write_iops")}) {
    for (const DeviceRate& rate : *rates) {
      flag += (flag.empty() ? "" : ",") + rate.device.substr(std::string_view("/dev/").size()) + "." + name +
              "=" + std::to_string(rate.per_s);
    }
  }
  return flag;
}

}  // namespace hmvm
