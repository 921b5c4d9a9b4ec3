// A container's record as the text of state.json.
#include <charconv>
#include <optional>

#include "base/capabilities.h"
#include "runtime/container/json_archive.h"
#include "runtime/container/record.h"

namespace hmvm {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

std::string ToHex(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char c : bytes) {
    text += kHex[static_cast<unsigned char>(c) >> 4];
    text += kHex[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

std::optional<std::string> FromHex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (size_t i = 0; i < text.size(); i += 2) {
    unsigned byte = 0;
    const char* const end = text.data() + i + 2;
    const auto [rest, code] = std::from_chars(text.data() + i, end, byte, 16);
    if (code != std::errc() || rest != end) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::optional<uint64_t> CapabilitiesFromNames(const std::vector<std::string>& names) {
  uint64_t capabilities = 0;
  for (const std::string& name : names) {
    const auto found = FindCapability(name);
    if (!found.has_value()) return std::nullopt;
    capabilities |= *found;
  }
  return capabilities;
}

}  // namespace

// Found by the archives by the types of their arguments, which a namespace without a name would hide.

template <typename Archive>
void Describe(Archive& archive, In<Archive, ProcessIdentity>& identity) {
  archive.Field("pid", identity.pid);
  archive.Field("start_ticks", identity.start_ticks);
  archive.Field("boot_id", identity.boot_id);
}

template <typename Archive>
void Describe(Archive& archive, In<Archive, DeviceRate>& rate) {
  archive.Field("device", rate.device);
  archive.Field("per_s", rate.per_s);
}

template <typename Archive>
void Describe(Archive& archive, In<Archive, Resources>& resources) {
  archive.Field("cpu_quota_us", resources.cpu_quota_us);
  archive.Field("cpu_shares", resources.cpu_shares);
  archive.Field("cpuset_cpus", resources.cpuset_cpus);
  archive.Field("memory_swap_bytes", resources.memory_swap_bytes);
  archive.Field("pids_limit", resources.pids_limit);
  archive.NewField("vmm_memory_bytes", resources.vmm_memory_bytes);
  archive.Field("device_read_bps", resources.device_read_bps);
  archive.Field("device_write_bps", resources.device_write_bps);
  archive.Field("device_read_iops", resources.device_read_iops);
  archive.Field("device_write_iops", resources.device_write_iops);
}

template <typename Archive>
void Describe(Archive& archive, In<Archive, Confinement>& confinement) {
  archive.Field("privileged", confinement.privileged);
  archive.Field("capabilities", confinement.capabilities, NamesOfCapabilities, CapabilitiesFromNames);
  archive.Field("seccomp", confinement.seccomp);
  archive.Field("seccomp_filter", confinement.seccomp_filter, ToHex, FromHex);
  archive.Field("no_new_privileges", confinement.no_new_privileges);
  archive.Field("open_system_paths", confinement.open_system_paths);
  archive.Field("devices", confinement.devices);
}

template <typename Archive>
void Describe(Archive& archive, In<Archive, HealthCheck>& check) {
  archive.Field("command", check.command);
  archive.Field("interval_ns", check.interval);
  archive.Field("timeout_ns", check.timeout);
  archive.Field("start_period_ns", check.start_period);
  archive.Field("retries", check.retries);
}

template <typename Archive>
void Describe(Archive& archive, In<Archive, ProbeResult>& result) {
  archive.Field("begun_unix_ns", result.begun_unix_ns);
  archive.Field("ended_unix_ns", result.ended_unix_ns);
  archive.Field("exit_code", result.exit_code);
  archive.Field("output", result.output);
}

template <typename Archive>
void Describe(Archive& archive, In<Archive, HealthRecord>& health) {
  archive.Field("status", health.status, HealthName, HealthFromName);
  archive.Field("failures", health.failures);
  archive.Field("last", health.last);
}

template <typename Archive>
void Describe(Archive& archive, In<Archive, ContainerConfig>& config) {
  archive.Field("image", config.image);
  archive.Field("image_id", config.image_id);
  archive.Field("args", config.args);
  archive.Field("env", config.env);
  archive.Field("working_dir", config.working_dir);
  archive.Field("user", config.user);
  archive.Field("hostname", config.hostname);
  archive.Field("stop_signal", config.stop_signal);
  archive.Field("kernel", config.kernel);
  archive.Field("platform", config.platform);
  archive.NewField("seccomp", config.seccomp);
  archive.Field("cpus", config.cpus);
  archive.Field("memory_bytes", config.memory_bytes);
  archive.NewField("resources", config.resources);
  archive.NewField("security_profile", config.security_profile);
  archive.NewField("profile", config.profile);
  archive.NewField("confinement", config.confinement);
  archive.Field("terminal", config.terminal);
  archive.Field("open_stdin", config.open_stdin);
  archive.Field("read_only", config.read_only);
  archive.Field("auto_remove", config.auto_remove);
  archive.Field("no_template", config.no_template);
  archive.NewField("require_guard", config.require_guard);
  archive.NewField("restart_policy", config.restart_policy, FormatRestartPolicy, ParseRestartPolicy);
  archive.NewField("health_check", config.health_check);
}

template <typename Archive>
void Describe(Archive& archive, In<Archive, ContainerEvent>& event) {
  archive.Field("status", event.status, StatusName, StatusFromName);
  archive.Field("unix_ns", event.unix_ns);
  archive.Field("monotonic_ns", event.monotonic_ns);
}

template <typename Archive>
void Describe(Archive& archive, In<Archive, ContainerRecord>& record) {
  archive.Field("id", record.id);
  archive.Field("name", record.name);
  archive.Field("config", record.config);
  archive.Field("events", record.events);
  archive.Field("exit_code", record.exit_code);
  archive.Field("reason", record.reason);
  archive.NewField("oom_killed", record.oom_killed);
  archive.NewField("started_unix_ns", record.started_unix_ns);
  archive.NewField("restarts", record.restarts);
  archive.NewField("health", record.health);
  archive.Field("owner", record.owner);
  archive.Field("vmm", record.vmm);
}

std::string EncodeContainerRecord(const ContainerRecord& record) {
  JsonWriter writer;
  writer.Field("version", kVersion);
  Describe(writer, record);
  return writer.object().dump(2) + "\n";
}

Result<ContainerRecord> DecodeContainerRecord(std::string_view text) {
  const json in = json::parse(text, nullptr, false);
  if (in.is_discarded() || !in.is_object()) return Error{0, "not a JSON object"};
  std::string problem;
  JsonReader reader(in, &problem);
  int version = 0;
  reader.Field("version", version);
  if (problem.empty() && version != kVersion) {
    return Error{0, "of version " + std::to_string(version) + ", this hmvm knows version " +
                        std::to_string(kVersion) + " only"};
  }
  ContainerRecord record;
  Describe(reader, record);
  if (!problem.empty()) return Error{0, problem};
  if (record.events.empty()) return Error{0, "'events' is empty"};
  return record;
}

}  // namespace hmvm
