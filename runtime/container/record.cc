#include "runtime/container/record.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/capabilities.h"
#include "base/clock.h"

namespace hmvm {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

ContainerEvent EventNow(Status status) {
  return {.status = status, .unix_ns = NowUnixNs(), .monotonic_ns = NowMonotonicNs()};
}

json EncodeIdentity(const ProcessIdentity& identity) {
  return {{"pid", identity.pid}, {"start_ticks", identity.start_ticks}, {"boot_id", identity.boot_id}};
}

// Arguments and variables come from images and command lines: any bytes. Those that are not UTF-8 can't stand
// in JSON as they are, so every byte above ASCII is written as the code point of the same number.
std::string BytesToText(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xc0 | (byte >> 6));
      text += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return text;
}

bool IsUtf8(std::string_view bytes) {
  // nlohmann's own check: dump() throws on what is not UTF-8, unless told to ignore.
  const json value = std::string(bytes);
  return json::parse(value.dump(-1, ' ', false, json::error_handler_t::ignore)).get<std::string>() == bytes;
}

// Plain text where that is possible, so that a person can read the file; {"latin1": ...} where it is not.
json EncodeBytes(const std::string& bytes) {
  if (IsUtf8(bytes)) return bytes;
  return {{"latin1", BytesToText(bytes)}};
}

json EncodeList(const std::vector<std::string>& list) {
  json out = json::array();
  for (const std::string& item : list) out.push_back(EncodeBytes(item));
  return out;
}

json EncodeRates(const std::vector<DeviceRate>& rates) {
  json out = json::array();
  for (const DeviceRate& rate : rates) out.push_back({{"device", rate.device}, {"per_s", rate.per_s}});
  return out;
}

json EncodeResources(const Resources& resources) {
  return {{"cpu_quota_us", resources.cpu_quota_us},
          {"cpu_shares", resources.cpu_shares},
          {"cpuset_cpus", resources.cpuset_cpus},
          {"memory_swap_bytes", resources.memory_swap_bytes},
          {"pids_limit", resources.pids_limit},
          {"vmm_memory_bytes", resources.vmm_memory_bytes},
          {"device_read_bps", EncodeRates(resources.device_read_bps)},
          {"device_write_bps", EncodeRates(resources.device_write_bps)},
          {"device_read_iops", EncodeRates(resources.device_read_iops)},
          {"device_write_iops", EncodeRates(resources.device_write_iops)}};
}

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

json EncodeConfinement(const Confinement& confinement) {
  return {{"privileged", confinement.privileged},
          {"capabilities", NamesOfCapabilities(confinement.capabilities)},
          {"seccomp", EncodeBytes(confinement.seccomp)},
          {"seccomp_filter", ToHex(confinement.seccomp_filter)},
          {"no_new_privileges", confinement.no_new_privileges},
          {"open_system_paths", confinement.open_system_paths},
          {"devices", EncodeList(confinement.devices)}};
}

json EncodeHealth(const HealthRecord& health) {
  json last = json::array();
  for (const ProbeResult& result : health.last) {
    last.push_back({{"begun_unix_ns", result.begun_unix_ns},
                    {"ended_unix_ns", result.ended_unix_ns},
                    {"exit_code", result.exit_code},
                    {"output", EncodeBytes(result.output)}});
  }
  return {{"status", HealthName(health.status)}, {"failures", health.failures}, {"last", std::move(last)}};
}

// Reads members with their types checked; remembers the first thing that is wrong. nlohmann's get() would
// throw.
class Reader {
 public:
  explicit Reader(const json& object, std::string* problem) : object_(object), problem_(problem) {
    if (!object.is_object() && problem_->empty()) *problem_ = "not an object";
  }

  void Get(const char* key, std::string& out) {
    const json* value = Find(key);
    if (value == nullptr || !DecodeBytes(*value, out)) Fail(key);
  }
  void Get(const char* key, bool& out) {
    const json* value = Find(key);
    if (value == nullptr || !value->is_boolean()) return Fail(key);
    out = value->get<bool>();
  }
  template <typename Number>
  requires std::is_integral_v<Number>
  void Get(const char* key, Number& out) {
    const json* value = Find(key);
    if (value == nullptr || !value->is_number_integer()) return Fail(key);
    out = value->get<Number>();
  }
  void Get(const char* key, std::vector<std::string>& out) {
    const json* value = Find(key);
    if (value == nullptr || !value->is_array()) return Fail(key);
    for (const json& item : *value) {
      if (!DecodeBytes(item, out.emplace_back())) return Fail(key);
    }
  }
  void Get(const char* key, Status& out) {
    std::string name;
    Get(key, name);
    const auto status = StatusFromName(name);
    if (!status.has_value()) return Fail(key);
    out = *status;
  }
  void Get(const char* key, ProcessIdentity& out) {
    Reader reader = Object(key);
    reader.Get("pid", out.pid);
    reader.Get("start_ticks", out.start_ticks);
    reader.Get("boot_id", out.boot_id);
  }
  void Get(const char* key, RestartPolicy& out) {
    std::string text;
    Get(key, text);
    const auto policy = ParseRestartPolicy(text);
    if (!policy.has_value()) return Fail(key);
    out = *policy;
  }
  void Get(const char* key, std::vector<DeviceRate>& out) {
    const json* value = Find(key);
    if (value == nullptr || !value->is_array()) return Fail(key);
    for (const json& item : *value) {
      Reader reader(item, problem_);
      DeviceRate& rate = out.emplace_back();
      reader.Get("device", rate.device);
      reader.Get("per_s", rate.per_s);
    }
  }
  void Get(const char* key, Resources& out) {
    Reader reader = Object(key);
    reader.Get("cpu_quota_us", out.cpu_quota_us);
    reader.Get("cpu_shares", out.cpu_shares);
    reader.Get("cpuset_cpus", out.cpuset_cpus);
    reader.Get("memory_swap_bytes", out.memory_swap_bytes);
    reader.Get("pids_limit", out.pids_limit);
    reader.GetIfThere("vmm_memory_bytes", out.vmm_memory_bytes);
    reader.Get("device_read_bps", out.device_read_bps);
    reader.Get("device_write_bps", out.device_write_bps);
    reader.Get("device_read_iops", out.device_read_iops);
    reader.Get("device_write_iops", out.device_write_iops);
  }
  void Get(const char* key, Confinement& out) {
    Reader reader = Object(key);
    std::vector<std::string> capabilities;
    std::string filter;
    reader.Get("privileged", out.privileged);
    reader.Get("capabilities", capabilities);
    reader.Get("seccomp", out.seccomp);
    reader.Get("seccomp_filter", filter);
    reader.Get("no_new_privileges", out.no_new_privileges);
    reader.Get("open_system_paths", out.open_system_paths);
    reader.Get("devices", out.devices);
    out.capabilities = 0;
    for (const std::string& name : capabilities) {
      const auto found = FindCapability(name);
      if (!found.has_value()) return Fail(key);
      out.capabilities |= *found;
    }
    auto bytes = FromHex(filter);
    if (!bytes.has_value()) return Fail(key);
    out.seccomp_filter = std::move(*bytes);
  }
  void Get(const char* key, std::chrono::nanoseconds& out) {
    int64_t ns = 0;
    Get(key, ns);
    out = std::chrono::nanoseconds(ns);
  }
  void Get(const char* key, HealthCheck& out) {
    Reader reader = Object(key);
    reader.Get("command", out.command);
    reader.Get("interval_ns", out.interval);
    reader.Get("timeout_ns", out.timeout);
    reader.Get("start_period_ns", out.start_period);
    reader.Get("retries", out.retries);
  }
  void Get(const char* key, HealthRecord& out) {
    Reader reader = Object(key);
    std::string name;
    reader.Get("status", name);
    const auto status = HealthFromName(name);
    reader.Get("failures", out.failures);
    const json* last = reader.Find("last");
    if (!status.has_value() || last == nullptr || !last->is_array()) return Fail(key);
    out.status = *status;
    for (const json& item : *last) {
      Reader result(item, problem_);
      ProbeResult& entry = out.last.emplace_back();
      result.Get("begun_unix_ns", entry.begun_unix_ns);
      result.Get("ended_unix_ns", entry.ended_unix_ns);
      result.Get("exit_code", entry.exit_code);
      result.Get("output", entry.output);
    }
  }
  // For what a record of an earlier hmvm does not have.
  template <typename Value>
  void GetIfThere(const char* key, Value& out) {
    if (Find(key) != nullptr) Get(key, out);
  }
  Reader Object(const char* key) {
    static const json kNothing;
    const json* value = Find(key);
    if (value == nullptr) Fail(key);
    return Reader(value == nullptr ? kNothing : *value, problem_);
  }
  const json* Find(const char* key) const {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }
  void Fail(const char* key) {
    if (problem_->empty()) *problem_ = "'" + std::string(key) + "' is missing or of the wrong type";
  }

 private:
  static bool DecodeBytes(const json& value, std::string& out) {
    if (value.is_string()) {
      out = value.get<std::string>();
      return true;
    }
    if (!value.is_object() || !value.contains("latin1") || !value["latin1"].is_string()) return false;
    const std::string text = value["latin1"].get<std::string>();
    out.clear();
    for (size_t i = 0; i < text.size(); ++i) {
      const auto lead = static_cast<unsigned char>(text[i]);
      if (lead < 0x80) {
        out += text[i];
      } else if ((lead & 0xfc) == 0xc0 && i + 1 < text.size()) {
        out += static_cast<char>((lead & 3) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3f));
      } else {
        return false;
      }
    }
    return true;
  }

  const json& object_;
  std::string* problem_;
};

}  // namespace

int64_t ContainerRecord::EnteredUnixNs(Status status) const {
  const auto found = std::find_if(events.rbegin(), events.rend(),
                                  [&](const ContainerEvent& event) { return event.status == status; });
  return found == events.rend() ? 0 : found->unix_ns;
}

Result<> ContainerRecord::Enter(Status next) {
  if (const std::string why = WhyIllegal(status(), next); !why.empty()) {
    return Error{EBUSY, "container '" + name + "' " + why};
  }
  if (events.size() >= kMaxEvents) events.erase(events.begin() + 1);
  // Running is also what follows Resuming.
  const bool begins = status() == Status::kStarting && next == Status::kRunning;
  events.push_back(EventNow(next));
  if (next == Status::kStarting) oom_killed = false;
  if (begins) started_unix_ns = events.back().unix_ns;
  if (next == Status::kStarting) started_unix_ns = 0;
  return {};
}

ContainerRecord NewContainerRecord(std::string id, std::string name, ContainerConfig config) {
  ContainerRecord record;
  record.name = name.empty() ? id.substr(0, 12) : std::move(name);
  record.id = std::move(id);
  record.config = std::move(config);
  record.events.push_back(EventNow(Status::kCreated));
  return record;
}

std::string NewContainerId() {
  std::array<unsigned char, 32> bytes = {};
  // Never short and never fails for so few bytes once the kernel has booted (getrandom(2)).
  (void)!::getrandom(bytes.data(), bytes.size(), 0);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  for (const unsigned char byte : bytes) {
    id += kHex[byte >> 4];
    id += kHex[byte & 15];
  }
  return id;
}

Result<> CheckContainerName(std::string_view name) {
  const auto alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  bool good = !name.empty() && name.size() <= 128 && alphanumeric(name.front());
  for (const char c : name) good = good && (alphanumeric(c) || c == '_' || c == '.' || c == '-');
  if (good) return {};
  return Error{0, "container name '" + std::string(name) +
                      "' is not allowed: use up to 128 of a-z A-Z 0-9 _ . - with a letter or digit first"};
}

std::string EncodeContainerRecord(const ContainerRecord& record) {
  const ContainerConfig& config = record.config;
  json events = json::array();
  for (const ContainerEvent& event : record.events) {
    events.push_back({{"status", StatusName(event.status)},
                      {"unix_ns", event.unix_ns},
                      {"monotonic_ns", event.monotonic_ns}});
  }
  const json out = {
      {"version", kVersion},
      {"id", record.id},
      {"name", record.name},
      {"config",
       {{"image", EncodeBytes(config.image)},
        {"image_id", config.image_id},
        {"args", EncodeList(config.args)},
        {"env", EncodeList(config.env)},
        {"working_dir", EncodeBytes(config.working_dir)},
        {"user", EncodeBytes(config.user)},
        {"hostname", EncodeBytes(config.hostname)},
        {"stop_signal", EncodeBytes(config.stop_signal)},
        {"kernel", EncodeBytes(config.kernel)},
        {"platform", EncodeBytes(config.platform)},
        {"seccomp", EncodeBytes(config.seccomp)},
        {"cpus", config.cpus},
        {"memory_bytes", config.memory_bytes},
        {"resources", EncodeResources(config.resources)},
        {"security_profile", EncodeBytes(config.security_profile)},
        {"profile", EncodeBytes(config.profile)},
        {"confinement", EncodeConfinement(config.confinement)},
        {"terminal", config.terminal},
        {"open_stdin", config.open_stdin},
        {"read_only", config.read_only},
        {"auto_remove", config.auto_remove},
        {"no_template", config.no_template},
        {"require_guard", config.require_guard},
        {"restart_policy", FormatRestartPolicy(config.restart_policy)},
        {"health_check",
         {{"command", EncodeList(config.health_check.command)},
          {"interval_ns", config.health_check.interval.count()},
          {"timeout_ns", config.health_check.timeout.count()},
          {"start_period_ns", config.health_check.start_period.count()},
          {"retries", config.health_check.retries}}}}},
      {"events", std::move(events)},
      {"exit_code", record.exit_code},
      {"reason", EncodeBytes(record.reason)},
      {"oom_killed", record.oom_killed},
      {"started_unix_ns", record.started_unix_ns},
      {"restarts", record.restarts},
      {"health", EncodeHealth(record.health)},
      {"owner", EncodeIdentity(record.owner)},
      {"vmm", EncodeIdentity(record.vmm)},
  };
  return out.dump(2) + "\n";
}

Result<ContainerRecord> DecodeContainerRecord(std::string_view text) {
  const json in = json::parse(text, nullptr, false);
  if (in.is_discarded() || !in.is_object()) return Error{0, "not a JSON object"};
  std::string problem;
  Reader reader(in, &problem);
  int version = 0;
  reader.Get("version", version);
  if (problem.empty() && version != kVersion) {
    return Error{0, "of version " + std::to_string(version) + ", this hmvm knows version " +
                        std::to_string(kVersion) + " only"};
  }
  ContainerRecord record;
  reader.Get("id", record.id);
  reader.Get("name", record.name);
  Reader config = reader.Object("config");
  config.Get("image", record.config.image);
  config.Get("image_id", record.config.image_id);
  config.Get("args", record.config.args);
  config.Get("env", record.config.env);
  config.Get("working_dir", record.config.working_dir);
  config.Get("user", record.config.user);
  config.Get("hostname", record.config.hostname);
  config.Get("stop_signal", record.config.stop_signal);
  config.Get("kernel", record.config.kernel);
  config.Get("platform", record.config.platform);
  config.GetIfThere("seccomp", record.config.seccomp);
  config.Get("cpus", record.config.cpus);
  config.Get("memory_bytes", record.config.memory_bytes);
  config.GetIfThere("resources", record.config.resources);
  config.GetIfThere("security_profile", record.config.security_profile);
  config.GetIfThere("profile", record.config.profile);
  config.GetIfThere("confinement", record.config.confinement);
  config.Get("terminal", record.config.terminal);
  config.Get("open_stdin", record.config.open_stdin);
  config.Get("read_only", record.config.read_only);
  config.Get("auto_remove", record.config.auto_remove);
  config.Get("no_template", record.config.no_template);
  config.GetIfThere("require_guard", record.config.require_guard);
  config.GetIfThere("restart_policy", record.config.restart_policy);
  config.GetIfThere("health_check", record.config.health_check);
  const json* events = reader.Find("events");
  if (events == nullptr || !events->is_array() || events->empty()) {
    reader.Fail("events");
  } else {
    for (const json& item : *events) {
      Reader event(item, &problem);
      ContainerEvent& entry = record.events.emplace_back();
      event.Get("status", entry.status);
      event.Get("unix_ns", entry.unix_ns);
      event.Get("monotonic_ns", entry.monotonic_ns);
    }
  }
  reader.Get("exit_code", record.exit_code);
  reader.Get("reason", record.reason);
  reader.GetIfThere("oom_killed", record.oom_killed);
  reader.GetIfThere("started_unix_ns", record.started_unix_ns);
  reader.GetIfThere("restarts", record.restarts);
  reader.GetIfThere("health", record.health);
  reader.Get("owner", record.owner);
  reader.Get("vmm", record.vmm);
  if (!problem.empty()) return Error{0, problem};
  return record;
}

}  // namespace hmvm
