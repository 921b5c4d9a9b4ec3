// `hmvm images`, `hmvm image import`, `hmvm image rm`.
#include <unistd.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/size.h"
#include "images/store.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/installation.h"
#include "runtime/cli/output.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

std::string ShortId(const Image& image) {
  constexpr std::string_view kPrefix = "sha256:";
  const size_t begin = image.id.starts_with(kPrefix) ? kPrefix.size() : 0;
  return image.id.substr(begin, kShortId);
}

ordered_json Details(const Image& image) {
  return {{"id", image.id},
          {"names", image.names},
          {"chain_id", image.chain_id},
          {"rootfs", image.rootfs_path},
          {"size_bytes", image.size_bytes},
          {"created", image.created},
          {"architecture", image.architecture},
          {"config",
           {{"entrypoint", image.config.entrypoint},
            {"cmd", image.config.cmd},
            {"env", image.config.env},
            {"working_dir", image.config.working_dir},
            {"user", image.config.user},
            {"stop_signal", image.config.stop_signal},
            {"labels", image.config.labels},
            {"exposed_ports", image.config.exposed_ports},
            {"volumes", image.config.volumes}}}};
}

// The name of a container of the image, which needs it to start again; empty when there is none.
Result<std::string> UserOf(const Folders& folders, const Image& image) {
  HMVM_TRY_ASSIGN(const ContainerStore containers, folders.OpenContainers());
  HMVM_TRY_ASSIGN(const auto entries, containers.List());
  for (const ContainerStore::Entry& entry : entries) {
    if (entry.record.config.image_id == image.id) return entry.record.name;
  }
  return std::string();
}

}  // namespace

Result<int> Execute(const Folders& folders, const ImagesOptions& options) {
  HMVM_TRY_ASSIGN(const ImageStore store, ImageStore::Open(folders.images()));
  std::vector<Error> broken;
  HMVM_TRY_ASSIGN(const std::vector<Image> images, store.List(&broken));
  ordered_json list = ordered_json::array();
  std::string ids;
  Table table({"NAME", "IMAGE ID", "CREATED", "SIZE"});
  for (const Image& image : images) {
    ids += ShortId(image) + "\n";
    if (options.json) list.push_back(Details(image));
    const std::vector<std::string> none = {"<none>"};
    for (const std::string& name : image.names.empty() ? none : image.names) {
      table.Add({name, ShortId(image), image.created.substr(0, 10), FormatSize(image.size_bytes)});
    }
  }
  for (const Error& error : broken) PrintError(error.Message());
  HMVM_TRY(Print(options.quiet ? ids : options.json ? FormatJson(list) : table.Format()));
  return broken.empty() ? 0 : kExitFailed;
}

Result<int> Execute(const Folders& folders, const ImageImportOptions& options) {
  HMVM_TRY_ASSIGN(const Installation installation, Installation::Find());
  const std::string& program = installation.import_program;
  ::execl(program.c_str(), program.c_str(), folders.images().c_str(), options.path.c_str(),
          options.name.c_str(), nullptr);
  return Error{0, Error{errno, "execute '" + program + "'"}.Message() +
                      "; it is part of hmvm: build or install it again"};
}

Result<int> Execute(const Folders& folders, const ImageRmOptions& options) {
  HMVM_TRY_ASSIGN(ImageStore store, ImageStore::Open(folders.images()));
  int exit_code = 0;
  for (const std::string& name : options.images) {
    const auto removed = store.Remove(name, [&](const Image& image) -> Result<> {
      HMVM_TRY_ASSIGN(const std::string user, UserOf(folders, image));
      if (user.empty()) return {};
      return Error{0, "image '" + name + "' is used by container '" + user + "': remove it first"};
    });
    if (removed.has_value()) {
      HMVM_TRY(Print(name + "\n"));
      continue;
    }
    PrintError(removed.error().code == ENOENT ? "no image '" + name + "'; `hmvm images` lists all"
                                              : removed.error().Message());
    exit_code = kExitFailed;
  }
  return exit_code;
}

}  // namespace hmvm
