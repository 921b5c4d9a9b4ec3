// `hmvm create`, and what `hmvm run` does first.
#include "runtime/cli/create.h"

#include <limits.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/file.h"
#include "images/store.h"
#include "runtime/cli/launch.h"
#include "runtime/container/process_config.h"
#include "runtime/container/profile_use.h"
#include "security/cell.h"
#include "security/seccomp.h"

namespace hmvm {
namespace {

// What can be told without making anything. The VMM knows the rest, such as how much memory the kernel needs.
Result<> CheckHost(const RunOptions& options) {
  HMVM_TRY(CheckResources(options.resources, options.cpus, options.memory_bytes, HostProcessors::Find()));
  if (auto kvm = OpenFile("/dev/kvm", O_RDWR); !kvm.has_value()) {
    return Error{0, kvm.error().Message() + (kvm.error().code == EACCES || kvm.error().code == EPERM
                                                 ? "; run as root or join the group that owns it"
                                                 : "; KVM is needed: see `hmvm check`")};
  }
  return {};
}

// What was asked for and is not to be had: no reason not to run.
void Warn(const RunOptions& options) {
  std::vector<std::string> warnings = ResourceWarnings(options.resources, options.memory_bytes);
  CgroupLimits asked = HostLimits(options.resources, options.memory_bytes);
  // The guest's size limits its memory anyway; nobody asked for the cgroup's limit alone.
  if (!asked.swap_bytes.has_value()) asked.memory_bytes = 0;
  std::ranges::move(WhyNoLimits(CgroupHierarchies::Find(), asked), std::back_inserter(warnings));
  if (const std::string why = WhyNoJail(); !why.empty()) warnings.push_back(why);
  for (const std::string& warning : warnings) PrintError("warning: " + warning);
}

Result<> ApplySecurity(const RunOptions& options, ContainerConfig& config) {
  const std::string& name = options.security_profile;
  if (options.confinement.privileged && name != "default") {
    return Error{0, "--privileged and --security-profile " + name + " contradict each other"};
  }
  HMVM_TRY_ASSIGN(const SecurityProfile profile, LoadSecurityProfile(name));
  config.security_profile =
      BuiltInProfile(name).has_value() ? name : std::filesystem::absolute(name).string();
  if (profile != SecurityProfile()) config.profile = FormatSecurityProfile(profile);
  config.read_only = options.read_only || profile.container.read_only;
  HMVM_TRY(ApplyCeilings(profile.resources, config));
  std::vector<std::string> warnings;
  HMVM_TRY_ASSIGN(config.confinement, Confine(options.confinement, DefaultsOf(profile), warnings));
  for (const std::string& warning : warnings) PrintError("warning: " + warning);
  return {};
}

Result<ContainerConfig> MakeConfig(const RunOptions& options, const Image& image,
                                   const Installation& installation) {
  ProcessWishes wishes{.command = options.command,
                       .entrypoint = options.entrypoint,
                       .working_dir = options.working_dir,
                       .user = options.user};
  for (const std::string& file : options.env_files) HMVM_TRY(AddEnvFile(file, wishes.env));
  for (const std::string& variable : options.env) HMVM_TRY(AddEnvArgument(variable, wishes.env));
  HMVM_TRY_ASSIGN(MergedProcess process, MergeProcess(image.config, wishes));
  ContainerConfig config;
  config.image = options.image;
  config.image_id = image.id;
  config.args = std::move(process.args);
  config.env = std::move(process.env);
  config.working_dir = std::move(process.working_dir);
  config.user = std::move(process.user);
  if (options.hostname.size() > HOST_NAME_MAX) {  // before a guest boots for it in vain
    return Error{0, "--hostname: " + std::to_string(options.hostname.size()) +
                        " bytes are too long, at most " + std::to_string(HOST_NAME_MAX)};
  }
  config.hostname = options.hostname;
  config.stop_signal = options.stop_signal.empty() ? image.config.stop_signal : options.stop_signal;
  config.kernel =
      options.kernel.empty() ? installation.kernel : std::filesystem::absolute(options.kernel).string();
  config.platform = options.platform;
  HMVM_TRY(ParseSeccompMode(options.seccomp));
  config.seccomp = options.seccomp;
  config.cpus = options.cpus;
  config.memory_bytes = options.memory_bytes;
  config.resources = options.resources;
  config.terminal = options.terminal;
  config.open_stdin = options.interactive;
  config.auto_remove = options.remove;
  config.no_template = options.no_template;
  config.require_guard = options.require_guard;
  config.restart_policy = options.restart_policy;
  HMVM_TRY_ASSIGN(config.health_check, MergeHealthCheck(image.config.health_check, options.health));
  HMVM_TRY(ApplySecurity(options, config));
  return config;
}

}  // namespace

Result<NewContainer> PrepareContainer(const Folders& folders, const RunOptions& options) {
  if (!options.name.empty()) HMVM_TRY(CheckContainerName(options.name));
  HMVM_TRY(CheckHost(options));
  Warn(options);
  NewContainer made;
  HMVM_TRY_ASSIGN(made.installation, Installation::Find());
  HMVM_TRY_ASSIGN(const ImageStore images, ImageStore::Open(folders.images()));
  auto image = images.Find(options.image);
  if (!image.has_value()) {
    if (image.error().code != ENOENT) return image.error();
    return Error{0, "no image '" + options.image + "'; `hmvm image import PATH --name " + options.image +
                        "` makes one from a file, `hmvm images` lists all"};
  }
  made.image = std::move(*image);
  HMVM_TRY_ASSIGN(ContainerConfig config, MakeConfig(options, made.image, made.installation));
  std::string id = NewContainerId();
  if (config.hostname.empty()) config.hostname = id.substr(0, 12);
  made.record = NewContainerRecord(std::move(id), options.name, std::move(config));
  return made;
}

Result<int> Execute(const Folders& folders, const CreateOptions& options) {
  HMVM_TRY_ASSIGN(const NewContainer made, PrepareContainer(folders, options));
  // Opened to see that it can be started; what is missing is told now.
  HMVM_TRY(OpenMachineFiles(made.record.config, made.installation, made.image));
  HMVM_TRY_ASSIGN(const ContainerStore store, folders.OpenContainers());
  HMVM_TRY(store.Add(made.record));
  HMVM_TRY(Print(made.record.id + "\n"));
  return 0;
}

}  // namespace hmvm
