#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <functional>
#include <span>

#include "base/capabilities.h"
#include "base/escape.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/size.h"
#include "security/cgroup.h"
#include "security/container/syscall_names.h"
#include "security/profile/profile.h"
#include "security/profile/yaml_tree.h"
#include "security/syscall_rule_text.h"

namespace hmvm {
namespace {

using Kind = YamlNode::Kind;

std::string Quoted(std::string_view text) { return "'" + Escape(text, 64) + "'"; }

template <typename Number>
std::optional<Number> Whole(std::string_view text, int base = 10) {
  Number number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, number, base);
  if (code != std::errc() || rest != end) return std::nullopt;
  return number;
}

// A key of a map and what is done with its value.
struct Member {
  std::string_view key;
  std::function<Result<>(const YamlNode&)> take;
};

class Parser {
 public:
  explicit Parser(const std::string& file) : file_(file) {}

  Result<SecurityProfile> Parse(const YamlNode& root) {
    if (root.kind != Kind::kMap) return At(root, "a profile is a map of keys; it begins with 'version: 1'");
    HMVM_TRY(CheckVersion(root));
    HMVM_TRY(TakeBase(root));
    const auto done = [](const YamlNode&) -> Result<> { return {}; };
    HMVM_TRY(Map(root, {{"version", done},
                        {"base", done},
                        {"on_breach", [&](const YamlNode& node) { return TakeOnBreach(node); }},
                        {"vmm", [&](const YamlNode& node) { return TakeVmm(node); }},
                        {"container", [&](const YamlNode& node) { return TakeContainer(node); }},
                        {"devices", [&](const YamlNode& node) { return TakeDevices(node); }},
                        {"network", [&](const YamlNode& node) { return TakeNetwork(node); }},
                        {"resources", [&](const YamlNode& node) { return TakeResources(node); }}}));
    return std::move(profile_);
  }

 private:
  Error At(const YamlNode& node, const std::string& what) const { return YamlError(file_, node.place, what); }

  // --- What values are made of.

  Result<> Map(const YamlNode& node, const std::vector<Member>& members) const {
    if (node.kind != Kind::kMap) return At(node, "not a map of keys");
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const YamlNode& key = node.children[i];
      const auto member = std::ranges::find(members, key.text, &Member::key);
      if (member == members.end()) {
        std::vector<std::string_view> known;
        for (const Member& each : members) known.push_back(each.key);
        return At(key, "unknown key " + Quoted(key.text) + DidYouMean(key.text, known));
      }
      if (node.children[i + 1].kind == Kind::kNothing) return At(key, Quoted(key.text) + " has no value");
      HMVM_TRY(member->take(node.children[i + 1]));
    }
    return {};
  }

  static const YamlNode* Find(const YamlNode& map, std::string_view key) {
    for (size_t i = 0; i + 1 < map.children.size(); i += 2) {
      if (map.children[i].text == key) return &map.children[i + 1];
    }
    return nullptr;
  }

  Result<> Each(const YamlNode& node, const std::function<Result<>(const YamlNode&)>& take) const {
    if (node.kind != Kind::kList) return At(node, "not a list");
    for (const YamlNode& item : node.children) HMVM_TRY(take(item));
    return {};
  }

  Result<std::string> Word(const YamlNode& node) const {
    if (node.kind != Kind::kScalar || node.text.empty()) return At(node, "not a word");
    return node.text;
  }

  Result<bool> Truth(const YamlNode& node) const {
    if (node.kind == Kind::kScalar && node.text == "true") return true;
    if (node.kind == Kind::kScalar && node.text == "false") return false;
    return At(node, "true or false");
  }

  // One of a few words, by its place among them.
  Result<size_t> Choice(const YamlNode& node, std::span<const std::string_view> words) const {
    HMVM_TRY_ASSIGN(const std::string word, Word(node));
    const auto found = std::ranges::find(words, word);
    if (found != words.end()) return static_cast<size_t>(found - words.begin());
    std::string all;
    for (const std::string_view each : words) all += (all.empty() ? "" : ", ") + std::string(each);
    return At(node, Quoted(word) + ": there are " + all);
  }

  // --- The parts of a profile.

  Result<> CheckVersion(const YamlNode& root) const {
    const YamlNode* version = Find(root, "version");
    if (version == nullptr) return At(root, "'version: 1' is missing");
    if (version->text != "1") {
      return At(*version, "version " + Quoted(version->text) + ": this hmvm knows version 1 only");
    }
    return {};
  }

  Result<> TakeBase(const YamlNode& root) {
    constexpr std::string_view kNames[] = {"default", "strict"};
    const YamlNode* base = Find(root, "base");
    size_t which = 0;
    if (base != nullptr) {
      HMVM_TRY_ASSIGN(which, Choice(*base, kNames));
    }
    profile_ = *BuiltInProfile(kNames[which]);
    return {};
  }

  Result<> TakeOnBreach(const YamlNode& node) {
    constexpr std::string_view kWords[] = {"kill", "audit"};
    HMVM_TRY_ASSIGN(const size_t which, Choice(node, kWords));
    profile_.vmm.on_breach = which == 0 ? OnBreach::kKill : OnBreach::kAudit;
    return {};
  }

  Result<> TakeVmm(const YamlNode& node) {
    return Map(node, {{"syscalls", [&](const YamlNode& value) -> Result<> {
                         profile_.vmm.extra_syscalls.clear();
                         return Each(value, [&](const YamlNode& item) { return TakeSyscall(item); });
                       }}});
  }

  // "getcpu", or {name: ioctl, args: [...]}.
  Result<> TakeSyscall(const YamlNode& node) {
    VmmSyscall call;
    const YamlNode* name = node.kind == Kind::kMap ? Find(node, "name") : &node;
    if (name == nullptr) return At(node, "'name' is missing");
    HMVM_TRY_ASSIGN(call.name, Word(*name));
    const auto found = FindSyscall(call.name);
    if (!found.has_value()) return At(*name, "unknown system call " + Quoted(call.name));
    if (!found->number.has_value()) return At(*name, Quoted(call.name) + " is not a system call of x86-64");
    call.number = *found->number;
    if (node.kind == Kind::kMap) {
      HMVM_TRY(Map(node, {{"name", [](const YamlNode&) -> Result<> { return {}; }},
                          {"args", [&](const YamlNode& value) {
                             return Each(value, [&](const YamlNode& item) { return TakeCheck(item, call); });
                           }}}));
    }
    if (profile_.vmm.extra_syscalls.size() == kMaxFurtherRules) {
      return At(node, "more than " + std::to_string(kMaxFurtherRules) + " system calls");
    }
    profile_.vmm.extra_syscalls.push_back(std::move(call));
    return {};
  }

  Result<uint64_t> Value(const YamlNode& node) const {
    const bool hexadecimal = node.text.starts_with("0x");
    const auto number =
        hexadecimal ? Whole<uint64_t>(std::string_view(node.text).substr(2), 16) : Whole<uint64_t>(node.text);
    if (node.kind != Kind::kScalar || !number.has_value()) return At(node, "not a whole number from 0 up");
    return *number;
  }

  // {index: 1, equal: 0xae80}, {index: 2, mask: 4, equal: 0}: what both filter and guard can compare.
  Result<> TakeCheck(const YamlNode& node, VmmSyscall& call) const {
    std::optional<uint64_t> index, mask, equal;
    const auto number = [&](std::optional<uint64_t>& into) {
      return [&](const YamlNode& value) -> Result<> {
        HMVM_TRY_ASSIGN(into, Value(value));
        return {};
      };
    };
    HMVM_TRY(Map(node, {{"index", number(index)}, {"mask", number(mask)}, {"equal", number(equal)}}));
    if (!index.has_value()) return At(node, "'index' is missing: which argument, from 0 to 5");
    if (*index > 5) return At(*Find(node, "index"), "arguments are counted from 0 to 5");
    if (!equal.has_value()) return At(node, "'equal' is missing: what the argument is to be");
    const uint64_t bits = mask.value_or(~uint64_t{0});
    if ((*equal & ~bits) != 0) return At(node, "never true: 'equal' has bits that 'mask' takes away");
    if (call.checks.size() == kMaxArgumentChecks) {
      return At(node, "more than " + std::to_string(kMaxArgumentChecks) + " arguments of one call");
    }
    call.checks.Append({.index = static_cast<uint8_t>(*index), .mask = bits, .value = *equal});
    return {};
  }

  Result<uint64_t> Capabilities(const YamlNode& node) const {
    uint64_t set = 0;
    HMVM_TRY(Each(node, [&](const YamlNode& item) -> Result<> {
      HMVM_TRY_ASSIGN(const std::string name, Word(item));
      const auto capability = ParseCapability(name);
      if (!capability.has_value()) return At(item, capability.error().what);
      set |= *capability;
      return {};
    }));
    return set;
  }

  Result<> TakeContainer(const YamlNode& node) {
    ContainerDefaults& container = profile_.container;
    const auto truth = [&](bool& into) {
      return [&](const YamlNode& value) -> Result<> {
        HMVM_TRY_ASSIGN(into, Truth(value));
        return {};
      };
    };
    return Map(node, {{"capabilities",
                       [&](const YamlNode& value) -> Result<> {
                         HMVM_TRY_ASSIGN(container.capabilities, Capabilities(value));
                         return {};
                       }},
                      {"seccomp", [&](const YamlNode& value) { return TakeSeccomp(value); }},
                      {"no_new_privileges", truth(container.no_new_privileges)},
                      {"read_only", truth(container.read_only)}});
  }

  // A file's name is relative to the profile's folder. It is read when a container is made.
  Result<> TakeSeccomp(const YamlNode& node) {
    HMVM_TRY_ASSIGN(std::string name, Word(node));
    if (name != "default" && name != "strict" && name != "unconfined") {
      const std::filesystem::path path = std::filesystem::path(file_).parent_path() / name;
      if (::access(path.c_str(), R_OK) < 0) {
        return At(node, Quoted(name) + ": there are default, strict, unconfined, and no such file");
      }
      name = std::filesystem::absolute(path).lexically_normal().string();
    }
    profile_.container.seccomp = std::move(name);
    return {};
  }

  Result<> TakeDevices(const YamlNode& node) {
    profile_.devices.clear();
    return Each(node, [&](const YamlNode& item) -> Result<> {
      HMVM_TRY_ASSIGN(const std::string name, Word(item));
      const std::filesystem::path path(name);
      if (!name.starts_with("/dev/") || path.lexically_normal() != path || path.filename().empty()) {
        return At(item, Quoted(name) + " is no path below /dev");
      }
      profile_.devices.push_back(name);
      return {};
    });
  }

  Result<> TakeNetwork(const YamlNode& node) {
    constexpr std::string_view kWords[] = {"allow", "deny"};
    return Map(node, {{"default",
                       [&](const YamlNode& value) -> Result<> {
                         HMVM_TRY_ASSIGN(const size_t which, Choice(value, kWords));
                         profile_.network.allow = which == 0;
                         return {};
                       }},
                      {"rules", [&](const YamlNode& value) -> Result<> {
                         profile_.network.rules.clear();
                         return Each(value, [&](const YamlNode& item) { return TakeRule(item); });
                       }}});
  }

  // {allow: out, protocol: tcp, peer: 10.0.0.0/8, ports: [443, 8000-8999]}
  Result<> TakeRule(const YamlNode& node) {
    constexpr std::string_view kDirections[] = {"in", "out"};
    constexpr std::string_view kProtocols[] = {"any", "tcp", "udp", "icmp"};
    NetworkRule rule;
    int verdicts = 0;
    const auto verdict = [&](bool allow) {
      return [&, allow](const YamlNode& value) -> Result<> {
        HMVM_TRY_ASSIGN(const size_t which, Choice(value, kDirections));
        rule.direction = static_cast<NetworkRule::Direction>(which);
        rule.allow = allow;
        ++verdicts;
        return {};
      };
    };
    HMVM_TRY(Map(node, {{"allow", verdict(true)},
                        {"deny", verdict(false)},
                        {"protocol",
                         [&](const YamlNode& value) -> Result<> {
                           HMVM_TRY_ASSIGN(const size_t which, Choice(value, kProtocols));
                           rule.protocol = static_cast<NetworkRule::Protocol>(which);
                           return {};
                         }},
                        {"peer", [&](const YamlNode& value) { return TakePeer(value, rule); }},
                        {"ports", [&](const YamlNode& value) {
                           return Each(value, [&](const YamlNode& item) { return TakePorts(item, rule); });
                         }}}));
    if (verdicts != 1) return At(node, "a rule needs one of 'allow' and 'deny', with 'in' or 'out'");
    using enum NetworkRule::Protocol;
    if (!rule.ports.empty() && rule.protocol != kTcp && rule.protocol != kUdp) {
      return At(*Find(node, "ports"), "only tcp and udp have ports: say 'protocol: tcp' or 'udp'");
    }
    profile_.network.rules.push_back(std::move(rule));
    return {};
  }

  Result<> TakePeer(const YamlNode& node, NetworkRule& rule) const {
    HMVM_TRY_ASSIGN(const std::string text, Word(node));
    const size_t slash = text.find('/');
    const std::string address = text.substr(0, slash);
    unsigned char bytes[16] = {};
    const bool v6 = address.find(':') != std::string::npos;
    if (::inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), bytes) != 1) {
      return At(node, Quoted(text) + " is no address, such as 10.0.0.0/8 or fd00::/8");
    }
    const unsigned width = v6 ? 128 : 32;
    unsigned prefix = width;
    if (slash != std::string::npos) {
      const auto number = Whole<unsigned>(std::string_view(text).substr(slash + 1));
      if (!number.has_value() || *number > width) {
        return At(node, Quoted(text) + ": a prefix is from 0 to " + std::to_string(width));
      }
      prefix = *number;
    }
    for (unsigned bit = prefix; bit < width; ++bit) {
      if ((bytes[bit / 8] >> (7 - bit % 8) & 1) != 0) {
        return At(node, Quoted(text) + " has bits beyond its prefix: which network is meant?");
      }
    }
    rule.peer = address + "/" + std::to_string(prefix);
    return {};
  }

  Result<> TakePorts(const YamlNode& node, NetworkRule& rule) const {
    HMVM_TRY_ASSIGN(const std::string text, Word(node));
    const size_t dash = text.find('-');
    const auto first = Whole<uint16_t>(std::string_view(text).substr(0, dash));
    const auto last =
        dash == std::string::npos ? first : Whole<uint16_t>(std::string_view(text).substr(dash + 1));
    if (!first.has_value() || !last.has_value() || *first == 0 || *last < *first) {
      return At(node, Quoted(text) + ": a port is from 1 to 65535, several are 8000-8999");
    }
    rule.ports.emplace_back(*first, *last);
    return {};
  }

  Result<> TakeResources(const YamlNode& node) {
    ResourceCeilings& ceilings = profile_.resources;
    const auto size = [&](uint64_t& into) {
      return [&](const YamlNode& value) -> Result<> {
        const auto bytes = ParseSize(value.text);
        if (!bytes.has_value() || *bytes == 0)
          return At(value, Quoted(value.text) + " is no size, such as 512m or 1g");
        into = *bytes;
        return {};
      };
    };
    return Map(node, {{"cpus", [&](const YamlNode& value) { return TakeCpus(value); }},
                      {"memory", size(ceilings.memory_bytes)},
                      {"pids",
                       [&](const YamlNode& value) -> Result<> {
                         const auto pids = Whole<uint32_t>(value.text);
                         if (!pids.has_value() || *pids == 0) return At(value, "a whole number from 1 up");
                         ceilings.pids = *pids;
                         return {};
                       }},
                      {"vmm_memory", size(ceilings.vmm_memory_bytes)}});
  }

  Result<> TakeCpus(const YamlNode& node) {
    double cpus = 0;
    const char* const end = node.text.data() + node.text.size();
    const auto [rest, code] = std::from_chars(node.text.data(), end, cpus, std::chars_format::fixed);
    // 0.01 is the least that a cgroup can hold; the upper bound keeps the product a number.
    if (code != std::errc() || rest != end || !(cpus >= 0.01 && cpus <= 100'000)) {
      return At(node, Quoted(node.text) + " is no number of processors, such as 2 or 0.5");
    }
    profile_.resources.cpu_quota_us =
        static_cast<uint64_t>(std::llround(cpus * static_cast<double>(kCpuPeriodUs)));
    return {};
  }

  const std::string file_;
  SecurityProfile profile_;
};

}  // namespace

Result<SecurityProfile> ParseSecurityProfile(const std::string& file, std::string_view text) {
  HMVM_TRY_ASSIGN(const YamlNode root, ParseYaml(file, text));
  return Parser(file).Parse(root);
}

Result<SecurityProfile> LoadSecurityProfile(const std::string& name) {
  if (auto built_in = BuiltInProfile(name)) return *built_in;
  auto text = ReadFile(name, kMaxYamlBytes);
  if (!text.has_value()) {
    return Error{
        0, "security profile '" + name + "': there are default, strict and files; " + text.error().Message()};
  }
  return ParseSecurityProfile(name, *text);
}

}  // namespace hmvm
