#include "security/container/seccomp_json.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <tuple>

#include <nlohmann/json.hpp>

#include "base/capabilities.h"
#include "base/escape.h"
#include "base/nearest.h"
#include "security/container/syscall_names.h"

namespace hmvm {
namespace {

using nlohmann::json;

constexpr std::pair<unsigned, unsigned> kGuestKernel = {6, 12};
// How often rules with several conditions on one argument may be split before somebody plays with us.
constexpr size_t kMaxRows = 65536;

constexpr std::string_view kActions[] = {"SCMP_ACT_ALLOW",       "SCMP_ACT_ERRNO",        "SCMP_ACT_KILL",
                                         "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP",
                                         "SCMP_ACT_LOG",         "SCMP_ACT_TRACE"};
constexpr std::string_view kCompares[] = {"SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_LT",       "SCMP_CMP_LE",
                                          "SCMP_CMP_GT", "SCMP_CMP_GE", "SCMP_CMP_MASKED_EQ"};

std::string Quoted(std::string_view text) { return "'" + Escape(text, 64) + "'"; }

// The error of a member: "syscalls[3].action 'X': ...".
Error At(const std::string& path, const std::string& what) { return Error{0, path + ": " + what}; }

Result<> CheckKeys(const json& object, const std::string& path, std::span<const std::string_view> known) {
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::find(known, key) != known.end()) continue;
    return At(path.empty() ? Quoted(key) : path,
              "unknown member" + (path.empty() ? "" : " " + Quoted(key)) + DidYouMean(key, known));
  }
  return {};
}

const json* Find(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> Text(const json& value, const std::string& path) {
  if (!value.is_string()) return At(path, "not a text");
  return value.get<std::string>();
}

Result<uint64_t> Number(const json& value, const std::string& path, uint64_t most = UINT64_MAX) {
  // Go's encoder writes -1 as the largest number; both are read.
  if (!value.is_number_unsigned()) return At(path, "not a whole number from 0 up");
  const auto number = value.get<uint64_t>();
  if (number > most) return At(path, std::to_string(number) + " is more than " + std::to_string(most));
  return number;
}

Result<std::vector<std::string>> List(const json& object, const char* key, const std::string& path) {
  std::vector<std::string> texts;
  const json* list = Find(object, key);
  if (list == nullptr) return texts;
  if (!list->is_array()) return At(path + key, "not a list");
  for (size_t i = 0; i < list->size(); ++i) {
    HMVM_TRY_ASSIGN(texts.emplace_back(), Text((*list)[i], path + key + "[" + std::to_string(i) + "]"));
  }
  return texts;
}

// `error` is the member with the errno of the action, of which docker's default is EPERM.
Result<SeccompVerdict> Verdict(const json& object, const char* key, const char* error,
                               const std::string& path) {
  const json* action = Find(object, key);
  if (action == nullptr) return At(path + key, "is missing");
  HMVM_TRY_ASSIGN(const std::string name, Text(*action, path + key));
  uint64_t data = EPERM;
  if (const json* number = Find(object, error)) {
    HMVM_TRY_ASSIGN(data, Number(*number, path + error, 4095));
  }
  const auto with_data = [&](uint32_t verdict) { return verdict | static_cast<uint32_t>(data); };
  if (name == "SCMP_ACT_ALLOW") return SeccompVerdict{SECCOMP_RET_ALLOW};
  if (name == "SCMP_ACT_ERRNO") return SeccompVerdict{with_data(SECCOMP_RET_ERRNO)};
  if (name == "SCMP_ACT_TRACE") return SeccompVerdict{with_data(SECCOMP_RET_TRACE)};
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD")
    return SeccompVerdict{SECCOMP_RET_KILL_THREAD};
  if (name == "SCMP_ACT_KILL_PROCESS") return SeccompVerdict{SECCOMP_RET_KILL_PROCESS};
  if (name == "SCMP_ACT_TRAP") return SeccompVerdict{SECCOMP_RET_TRAP};
  if (name == "SCMP_ACT_LOG") return SeccompVerdict{SECCOMP_RET_LOG};
  if (name == "SCMP_ACT_NOTIFY")
    return At(path + key, Quoted(name) + ": there is nobody in the guest to be asked");
  return At(path + key, Quoted(name) + " is no action" + DidYouMean(name, kActions));
}

Result<ArgumentTest> Check(const json& value, const std::string& path) {
  if (!value.is_object()) return At(path, "not an object");
  constexpr std::string_view kKeys[] = {"index", "value", "valueTwo", "op", "comment"};
  HMVM_TRY(CheckKeys(value, path, kKeys));
  for (const char* key : {"index", "op"}) {
    if (Find(value, key) == nullptr) return At(path + "." + key, "is missing");
  }
  HMVM_TRY_ASSIGN(const uint64_t index, Number(value["index"], path + ".index", 5));
  HMVM_TRY_ASSIGN(const std::string op, Text(value["op"], path + ".op"));
  ArgumentTest check = {.index = static_cast<uint8_t>(index)};
  uint64_t second = 0;
  if (const json* number = Find(value, "value")) {
    HMVM_TRY_ASSIGN(check.value, Number(*number, path + ".value"));
  }
  if (const json* number = Find(value, "valueTwo")) {
    HMVM_TRY_ASSIGN(second, Number(*number, path + ".valueTwo"));
  }
  const auto* const found = std::ranges::find(kCompares, op);
  if (found == std::end(kCompares)) {
    return At(path + ".op", Quoted(op) + " is no comparison" + DidYouMean(op, kCompares));
  }
  using enum ArgumentTest::Compare;
  constexpr ArgumentTest::Compare kInOrder[] = {kEqual,   kNotEqual,       kLess,       kLessOrEqual,
                                                kGreater, kGreaterOrEqual, kMaskedEqual};
  check.compare = kInOrder[found - std::begin(kCompares)];
  if (check.compare == kMaskedEqual) std::tie(check.mask, check.value) = std::tuple(check.value, second);
  return check;
}

// The conditions of a row's "includes" or "excludes".
struct Conditions {
  bool x86_64 = false;  // among the architectures
  bool any_architecture = true;
  uint64_t capabilities = 0;
  std::optional<bool> new_enough;  // the guest's kernel for minKernel
};

Result<Conditions> ReadConditions(const json& row, const char* key, const std::string& path) {
  Conditions conditions;
  const json* value = Find(row, key);
  if (value == nullptr) return conditions;
  const std::string place = path + key;
  if (!value->is_object()) return At(place, "not an object");
  constexpr std::string_view kKeys[] = {"arches", "caps", "minKernel"};
  HMVM_TRY(CheckKeys(*value, place, kKeys));
  HMVM_TRY_ASSIGN(const auto arches, List(*value, "arches", place + "."));
  conditions.any_architecture = arches.empty();
  conditions.x86_64 = std::ranges::find(arches, "amd64") != arches.end();
  HMVM_TRY_ASSIGN(const auto capabilities, List(*value, "caps", place + "."));
  for (size_t i = 0; i < capabilities.size(); ++i) {
    const auto capability = FindCapability(capabilities[i]);
    if (!capability.has_value()) {
      return At(
          place + ".caps[" + std::to_string(i) + "]",
          "unknown capability " + Quoted(capabilities[i]) + DidYouMean(capabilities[i], CapabilityNames()));
    }
    conditions.capabilities |= *capability;
  }
  if (const json* kernel = Find(*value, "minKernel")) {
    HMVM_TRY_ASSIGN(const std::string text, Text(*kernel, place + ".minKernel"));
    unsigned major = 0, minor = 0;
    char rest = 0;
    if (std::sscanf(text.c_str(), "%u.%u%c", &major, &minor, &rest) != 2) {
      return At(place + ".minKernel", Quoted(text) + " is no version: write it as \"4.8\"");
    }
    conditions.new_enough = kGuestKernel >= std::pair(major, minor);
  }
  return conditions;
}

class Parser {
 public:
  Result<ParsedSeccomp> Parse(const json& root) {
    if (!root.is_object()) return Error{0, "not an object"};
    constexpr std::string_view kKeys[] = {"defaultAction", "defaultErrnoRet", "defaultErrno", "architectures",
                                          "archMap",       "syscalls",        "flags",        "comment"};
    HMVM_TRY(CheckKeys(root, "", kKeys));
    HMVM_TRY_ASSIGN(parsed_.profile.otherwise, Verdict(root, "defaultAction", "defaultErrnoRet", ""));
    HMVM_TRY(CheckArchitectures(root));
    HMVM_TRY(CheckFlags(root));
    if (const json* rows = Find(root, "syscalls")) {
      if (!rows->is_array()) return At("syscalls", "not a list");
      for (size_t i = 0; i < rows->size(); ++i) {
        HMVM_TRY(AddRow((*rows)[i], "syscalls[" + std::to_string(i) + "]"));
      }
    }
    return std::move(parsed_);
  }

 private:
  static Result<> CheckArchitectures(const json& root) {
    HMVM_TRY_ASSIGN(auto architectures, List(root, "architectures", ""));
    const json* map = Find(root, "archMap");
    if (map != nullptr && !architectures.empty()) {
      return Error{0, "'architectures' and 'archMap' are both there: use one"};
    }
    if (map != nullptr) {
      if (!map->is_array()) return At("archMap", "not a list");
      for (size_t i = 0; i < map->size(); ++i) {
        const std::string place = "archMap[" + std::to_string(i) + "]";
        if (!(*map)[i].is_object()) return At(place, "not an object");
        constexpr std::string_view kKeys[] = {"architecture", "subArchitectures"};
        HMVM_TRY(CheckKeys((*map)[i], place, kKeys));
        const json* name = Find((*map)[i], "architecture");
        if (name == nullptr) return At(place + ".architecture", "is missing");
        HMVM_TRY_ASSIGN(architectures.emplace_back(), Text(*name, place + ".architecture"));
      }
    }
    // None named: the native one.
    if (architectures.empty() ||
        std::ranges::find(architectures, "SCMP_ARCH_X86_64") != architectures.end()) {
      return {};
    }
    return At(map == nullptr ? "architectures" : "archMap",
              "SCMP_ARCH_X86_64 is not among them, but the guest is");
  }

  static Result<> CheckFlags(const json& root) {
    // What they ask for is so anyway: a process is confined before it has threads, and the guest's kernel
    // does not slow down those with a filter.
    constexpr std::string_view kKnown[] = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"};
    HMVM_TRY_ASSIGN(const auto flags, List(root, "flags", ""));
    for (size_t i = 0; i < flags.size(); ++i) {
      if (std::ranges::find(kKnown, flags[i]) != std::end(kKnown)) continue;
      return At("flags[" + std::to_string(i) + "]", Quoted(flags[i]) + " is not to be had");
    }
    return {};
  }

  Result<> AddRow(const json& value, const std::string& place) {
    if (!value.is_object()) return At(place, "not an object");
    constexpr std::string_view kKeys[] = {"name", "names",    "action",   "errnoRet", "errno",
                                          "args", "includes", "excludes", "comment"};
    HMVM_TRY(CheckKeys(value, place, kKeys));
    const std::string path = place + ".";
    HMVM_TRY_ASSIGN(std::vector<std::string> names, List(value, "names", path));
    if (const json* name = Find(value, "name"); name != nullptr && *name != "") {
      if (!names.empty()) return At(place, "'name' and 'names' are both there: use one");
      HMVM_TRY_ASSIGN(names.emplace_back(), Text(*name, path + "name"));
    }
    if (names.empty()) return At(path + "names", "is missing");
    HMVM_TRY_ASSIGN(const SeccompVerdict verdict, Verdict(value, "action", "errnoRet", path));
    HMVM_TRY_ASSIGN(const std::vector<ArgumentTest> checks, ReadChecks(value, path));
    HMVM_TRY_ASSIGN(const Conditions includes, ReadConditions(value, "includes", path));
    HMVM_TRY_ASSIGN(const Conditions excludes, ReadConditions(value, "excludes", path));
    SeccompRow row = {.verdict = verdict, .needs = includes.capabilities, .without = excludes.capabilities};
    for (size_t i = 0; i < names.size(); ++i) HMVM_TRY(AddCall(names[i], path, i, row));
    const bool counts = (includes.any_architecture || includes.x86_64) &&
                        includes.new_enough.value_or(true) && !excludes.x86_64 &&
                        !excludes.new_enough.value_or(false);
    // docker's runtimes leave out rows that say what holds anyway, even if they contradict others.
    if (!counts || row.calls.empty() || verdict == parsed_.profile.otherwise) return {};
    return AddSplit(std::move(row), checks, place);
  }

  static Result<std::vector<ArgumentTest>> ReadChecks(const json& row, const std::string& path) {
    std::vector<ArgumentTest> checks;
    const json* list = Find(row, "args");
    if (list == nullptr) return checks;
    if (!list->is_array()) return At(path + "args", "not a list");
    for (size_t i = 0; i < list->size(); ++i) {
      HMVM_TRY_ASSIGN(checks.emplace_back(), Check((*list)[i], path + "args[" + std::to_string(i) + "]"));
    }
    return checks;
  }

  Result<> AddCall(const std::string& name, const std::string& path, size_t at, SeccompRow& row) {
    const auto found = FindSyscall(name);
    if (!found.has_value()) {
      if (unknown_.insert(name).second) {
        parsed_.warnings.push_back(path + "names[" + std::to_string(at) + "]: unknown system call " +
                                   Quoted(name) + ", ignoring");
      }
    } else if (found->number.has_value()) {
      row.calls.push_back(*found->number);
    }
    return {};
  }

  // As runc reads it: conditions on different arguments must all hold, but if two are on the same argument
  // each of the row's conditions is enough.
  Result<> AddSplit(SeccompRow row, const std::vector<ArgumentTest>& checks, const std::string& place) {
    std::set<uint8_t> indices;
    for (const ArgumentTest& check : checks) indices.insert(check.index);
    std::vector<SeccompRow>& rows = parsed_.profile.rows;
    if (indices.size() == checks.size()) {
      row.checks = checks;
      rows.push_back(std::move(row));
    } else {
      for (const ArgumentTest& check : checks) {
        row.checks = {check};
        rows.push_back(row);
      }
    }
    if (rows.size() > kMaxRows) return At(place, "more than " + std::to_string(kMaxRows) + " rules");
    return {};
  }

  ParsedSeccomp parsed_;
  std::set<std::string> unknown_;
};

std::string LineAndColumn(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
  return std::to_string(std::ranges::count(before, '\n') + 1) + ":" +
         std::to_string(before.size() - line_begin + 1);
}

}  // namespace

Result<ParsedSeccomp> ParseSeccompJson(std::string_view text) {
  if (text.size() > kMaxSeccompJsonBytes) {
    return Error{0, "longer than the " + std::to_string(kMaxSeccompJsonBytes >> 20) + " MiB that are read"};
  }
  json root;
  try {
    root = json::parse(text);
  } catch (const json::parse_error& error) {
    // Its own words go on for long and repeat the place.
    return Error{0,
                 "line " + LineAndColumn(text, error.byte == 0 ? 0 : error.byte - 1) + ": this is not JSON"};
  } catch (const json::out_of_range&) {
    return Error{0, "a number is larger than any that JSON is read with here"};
  }
  return Parser().Parse(root);
}

}  // namespace hmvm
