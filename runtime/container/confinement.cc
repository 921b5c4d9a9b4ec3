#include "runtime/container/confinement.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string_view>

#include "base/capabilities.h"
#include "base/escape.h"
#include "base/file.h"
#include "base/nearest.h"
#include "security/container/seccomp_filter.h"
#include "security/container/seccomp_json.h"

namespace hmvm {
namespace {

constexpr std::string_view kOption = "--security-opt ";

Error Bad(const std::string& option, const std::string& what) {
  return Error{0, std::string(kOption) + Escape(option) + ": " + what};
}

// Where docker would, and hmvm can't do what is asked: its guests have neither module.
Result<> CheckModule(const std::string& option, std::string_view module, std::string_view value) {
  const bool apparmor = module == "apparmor";
  if (value == (apparmor ? "unconfined" : "disable")) return {};
  return Bad(option, std::string("the guest's kernel has no ") + (apparmor ? "AppArmor" : "SELinux") +
                         ", so there is only " + (apparmor ? "apparmor=unconfined" : "label=disable"));
}

struct SecurityOpts {
  std::optional<std::string> seccomp;
  std::optional<bool> no_new_privileges;
  bool open_system_paths = false;
};

Result<> AddSecurityOpt(const std::string& option, SecurityOpts& opts) {
  // docker takes both; "=" first, as a file's name may have a colon.
  size_t end = option.find('=');
  if (end == std::string::npos) end = option.find(':');
  const bool has_value = end != std::string::npos;
  const std::string name = option.substr(0, end), value = has_value ? option.substr(end + 1) : "";
  if (name == "no-new-privileges") {
    if (has_value && value != "true" && value != "false") return Bad(option, "the value is true or false");
    opts.no_new_privileges = value != "false";
    return {};
  }
  constexpr std::string_view kKnown[] = {"seccomp", "no-new-privileges", "apparmor", "label", "systempaths"};
  if (std::ranges::find(kKnown, name) == std::end(kKnown)) {
    return Bad(option, "there are seccomp, no-new-privileges, systempaths, apparmor and label" +
                           DidYouMean(name, kKnown));
  }
  if (value.empty()) return Bad(option, "a value is missing");
  if (name == "seccomp") {
    if (value == "builtin") {  // docker's word for its default
      opts.seccomp = "default";
    } else if (value == "default" || value == "strict" || value == "unconfined") {
      opts.seccomp = value;
    } else {
      opts.seccomp = std::filesystem::absolute(value).string();
    }
    return {};
  }
  if (name == "systempaths") {
    if (value != "unconfined") return Bad(option, "there is only systempaths=unconfined");
    opts.open_system_paths = true;
    return {};
  }
  return CheckModule(option, name, value);
}

Result<SeccompProfile> FindSeccomp(const std::string& name, std::vector<std::string>& warnings) {
  if (name == "default") return DefaultSeccomp();
  if (name == "strict") return StrictSeccomp();
  HMVM_TRY_ASSIGN(const std::string text, ReadFile(name, kMaxSeccompJsonBytes));
  HMVM_TRY_ASSIGN(ParsedSeccomp parsed, ParseSeccompJson(text));
  for (const std::string& warning : parsed.warnings)
    warnings.push_back("seccomp profile '" + name + "': " + warning);
  return std::move(parsed.profile);
}

Result<std::string> MakeFilter(const std::string& name, uint64_t capabilities,
                               std::vector<std::string>& warnings) {
  if (name == "unconfined") return std::string();
  auto filter = [&]() -> Result<std::vector<sock_filter>> {
    HMVM_TRY_ASSIGN(const SeccompProfile profile, FindSeccomp(name, warnings));
    return CompileSeccomp(profile, capabilities);
  }();
  if (!filter.has_value()) return Error{0, "seccomp profile '" + name + "': " + filter.error().Message()};
  return SeccompBytes(*filter);
}

}  // namespace

Result<Confinement> Confine(const ConfinementWishes& wishes, Confinement defaults,
                            std::vector<std::string>& warnings) {
  Confinement made = std::move(defaults);
  SecurityOpts opts;
  for (const std::string& option : wishes.security_opts) HMVM_TRY(AddSecurityOpt(option, opts));
  HMVM_TRY_ASSIGN(made.capabilities,
                  ApplyCapabilityOptions(made.capabilities, wishes.cap_add, wishes.cap_drop));
  if (wishes.privileged) {
    made.privileged = true;
    made.open_system_paths = true;
    Unconfine(made);
  }
  if (opts.seccomp.has_value()) made.seccomp = *opts.seccomp;
  made.no_new_privileges = opts.no_new_privileges.value_or(made.no_new_privileges);
  made.open_system_paths = made.open_system_paths || opts.open_system_paths;
  HMVM_TRY_ASSIGN(made.seccomp_filter, MakeFilter(made.seccomp, made.capabilities, warnings));
  return made;
}

void Unconfine(Confinement& confinement) {
  confinement.capabilities = AllCapabilities();
  confinement.seccomp = "unconfined";
  confinement.seccomp_filter.clear();
}

}  // namespace hmvm
