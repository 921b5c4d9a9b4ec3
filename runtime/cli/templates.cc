// `hmvm template build`, `hmvm template ls`, `hmvm template rm`.
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/size.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/installation.h"
#include "runtime/cli/output.h"
#include "runtime/container/resources.h"
#include "runtime/template/build.h"
#include "runtime/template/store.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

std::string Age(int64_t since_unix_ns) { return FormatAge(NowUnixNs() - since_unix_ns); }

ordered_json Details(const TemplateInfo& info) {
  return {{"id", info.id},
          {"kernel", info.machine.kernel},
          {"platform", info.machine.platform},
          {"cpus", info.machine.cpus},
          {"memory_mib", info.machine.memory_mib},
          {"grows", info.machine.grows},
          {"disk_bytes", info.disk_bytes},
          {"built_unix_ns", info.built_unix_ns},
          {"used_unix_ns", info.used_unix_ns},
          {"stale", info.stale}};
}

// The whole id of the one template whose id begins so.
Result<std::string> Complete(const TemplateStore& store, const std::string& beginning) {
  HMVM_TRY_ASSIGN(const std::vector<TemplateInfo> infos, store.List());
  std::string found;
  for (const TemplateInfo& info : infos) {
    if (!info.id.starts_with(beginning)) continue;
    if (!found.empty())
      return Error{0, "'" + beginning + "' is the beginning of more than one template's id"};
    found = info.id;
  }
  if (found.empty()) return Error{0, "no template '" + beginning + "'; `hmvm template ls` lists all"};
  return found;
}

}  // namespace

Result<int> Execute(const Folders& folders, const TemplateBuildOptions& options) {
  HMVM_TRY(CheckResources({}, options.cpus, options.memory_bytes, HostProcessors::Find()));
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  const std::string kernel =
      options.kernel.empty() ? installation.kernel : std::filesystem::absolute(options.kernel).string();
  const TemplateMachine exact = {.vmm_program = installation.vmm_program,
                                 .kernel = kernel,
                                 .initramfs = installation.initramfs,
                                 .platform = options.platform,
                                 .cpus = options.cpus,
                                 .memory_mib = MemoryMib(options.memory_bytes)};
  // The size that one which grows has anyway is no reason for another.
  const TemplateMachine growing = GrowingMachine(exact).value_or(exact);
  const bool same = growing.cpus == exact.cpus && growing.memory_mib == exact.memory_mib;
  HMVM_TRY_ASSIGN(const TemplateKey key, MakeTemplateKey(same ? growing : exact));
  const BuildGuard guard = {.required = false, .audit_folder = folders.audit()};
  if (auto built = BuildTemplate(TemplateStore(folders.templates()), key, guard); !built.has_value()) {
    if (built.error().code == EAGAIN) return Error{0, "another process is building a template: try again"};
    return Error{0, "build a template: " +
                        (built.error().code == ECANCELED ? built.error().what : built.error().Message())};
  }
  HMVM_TRY(Print(key.id + "\n"));
  return 0;
}

Result<int> Execute(const Folders& folders, const TemplateLsOptions& options) {
  const TemplateStore store(folders.templates());
  store.Sweep();
  HMVM_TRY_ASSIGN(const std::vector<TemplateInfo> infos, store.List());
  ordered_json list = ordered_json::array();
  std::string ids;
  Table table({"TEMPLATE ID", "CPUS", "MEMORY", "PLATFORM", "BUILT", "USED", "SIZE", "STATE"});
  for (const TemplateInfo& info : infos) {
    ids += info.id.substr(0, kShortId) + "\n";
    list.push_back(Details(info));
    const char* const more = info.machine.grows ? " or more" : "";
    table.Add({info.id.substr(0, kShortId), std::to_string(info.machine.cpus) + more,
               FormatSize(uint64_t{info.machine.memory_mib} << 20) + more, info.machine.platform,
               Age(info.built_unix_ns) + " ago", Age(info.used_unix_ns) + " ago", FormatSize(info.disk_bytes),
               info.stale ? "stale" : "current"});
  }
  HMVM_TRY(Print(options.quiet ? ids : options.json ? FormatJson(list) : table.Format()));
  return 0;
}

Result<int> Execute(const Folders& folders, const TemplateRmOptions& options) {
  const TemplateStore store(folders.templates());
  store.Sweep();
  int exit_code = 0;
  for (const std::string& beginning : options.templates) {
    auto removed = [&]() -> Result<> {
      HMVM_TRY_ASSIGN(const std::string id, Complete(store, beginning));
      HMVM_TRY(store.Remove(id));
      return Print(beginning + "\n");
    }();
    if (removed.has_value()) continue;
    PrintError(removed.error().Message());
    exit_code = kExitFailed;
  }
  return exit_code;
}

}  // namespace hmvm
