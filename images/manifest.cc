#include "images/manifest.h"

#include <map>

#include "images/json.h"

namespace hmvm {
namespace {

using Json = nlohmann::json;
using StringMap = std::map<std::string, std::string>;

Result<Descriptor> ReadDescriptor(const Json& json) {
  Descriptor descriptor;
  descriptor.media_type = Member<std::string>(json, "mediaType");
  HMVM_TRY_ASSIGN(descriptor.digest, Digest::Parse(json.at("digest").get_ref<const std::string&>()));
  const Json& size = json.at("size");
  if (!size.is_number_unsigned())
    return Error{0, "size of " + descriptor.digest.text() + " is not a count of bytes"};
  descriptor.size_bytes = size.get<uint64_t>();
  if (const auto platform = json.find("platform"); platform != json.end() && !platform->is_null()) {
    descriptor.os = Member<std::string>(*platform, "os");
    descriptor.architecture = Member<std::string>(*platform, "architecture");
    descriptor.variant = Member<std::string>(*platform, "variant");
  }
  // containerd and docker write the full name beside the tag.
  const auto annotations = Member<StringMap>(json, "annotations");
  for (const char* key : {"io.containerd.image.name", "org.opencontainers.image.ref.name"}) {
    const auto found = annotations.find(key);
    if (descriptor.name.empty() && found != annotations.end()) descriptor.name = found->second;
  }
  return descriptor;
}

Result<> CheckVersion(const Json& json, const std::string& what) {
  if (json.at("schemaVersion") != 2) return Error{0, what + " has an unknown schemaVersion"};
  return {};
}

std::vector<std::string> Keys(const std::map<std::string, Json>& set) {
  std::vector<std::string> keys;
  keys.reserve(set.size());
  for (const auto& [key, value] : set) keys.push_back(key);
  return keys;
}

Result<ImageHealthCheck> ReadHealthCheck(const Json& json) {
  ImageHealthCheck check;
  check.test = Member<std::vector<std::string>>(json, "Test");
  check.interval_ns = Member<int64_t>(json, "Interval");
  check.timeout_ns = Member<int64_t>(json, "Timeout");
  check.start_period_ns = Member<int64_t>(json, "StartPeriod");
  const auto retries = Member<int64_t>(json, "Retries");
  for (const int64_t value : {check.interval_ns, check.timeout_ns, check.start_period_ns, retries}) {
    if (value < 0) return Error{0, "image config has a negative number in Healthcheck"};
  }
  if (retries > UINT32_MAX) return Error{0, "image config has too many Retries in Healthcheck"};
  check.retries = static_cast<uint32_t>(retries);
  return check;
}

Result<> ReadProcessConfig(const Json& json, ImageConfig& config) {
  using Strings = std::vector<std::string>;
  config.entrypoint = Member<Strings>(json, "Entrypoint");
  config.cmd = Member<Strings>(json, "Cmd");
  config.env = Member<Strings>(json, "Env");
  config.working_dir = Member<std::string>(json, "WorkingDir");
  config.user = Member<std::string>(json, "User");
  config.stop_signal = Member<std::string>(json, "StopSignal");
  if (const auto check = json.find("Healthcheck"); check != json.end() && !check->is_null()) {
    HMVM_TRY_ASSIGN(config.health_check, ReadHealthCheck(*check));
  }
  config.labels = Member<StringMap>(json, "Labels");
  config.exposed_ports = Keys(Member<std::map<std::string, Json>>(json, "ExposedPorts"));
  config.volumes = Keys(Member<std::map<std::string, Json>>(json, "Volumes"));
  // docker passes over what is no KEY=VALUE, and so do we.
  std::erase_if(config.env, [](const std::string& variable) {
    const size_t equals = variable.find('=');
    return equals == 0 || equals == std::string::npos;
  });
  return {};
}

}  // namespace

bool IsIndexMediaType(std::string_view media_type) {
  return media_type == "application/vnd.oci.image.index.v1+json" ||
         media_type == "application/vnd.docker.distribution.manifest.list.v2+json";
}

bool IsManifestMediaType(std::string_view media_type) {
  return media_type == "application/vnd.oci.image.manifest.v1+json" ||
         media_type == "application/vnd.docker.distribution.manifest.v2+json";
}

Result<std::vector<Descriptor>> ParseIndex(std::string_view text) {
  return ReadJson(text, "image index", [](const Json& json) -> Result<std::vector<Descriptor>> {
    HMVM_TRY(CheckVersion(json, "image index"));
    std::vector<Descriptor> descriptors;
    for (const Json& item : json.at("manifests").get_ref<const Json::array_t&>()) {
      HMVM_TRY_ASSIGN(Descriptor descriptor, ReadDescriptor(item));
      descriptors.push_back(std::move(descriptor));
    }
    return descriptors;
  });
}

Result<OciManifest> ParseManifest(std::string_view text) {
  return ReadJson(text, "image manifest", [](const Json& json) -> Result<OciManifest> {
    HMVM_TRY(CheckVersion(json, "image manifest"));
    OciManifest manifest;
    HMVM_TRY_ASSIGN(manifest.config, ReadDescriptor(json.at("config")));
    for (const Json& item : json.at("layers").get_ref<const Json::array_t&>()) {
      HMVM_TRY_ASSIGN(Descriptor layer, ReadDescriptor(item));
      manifest.layers.push_back(std::move(layer));
    }
    if (manifest.layers.size() > kMaxLayers) return Error{0, "image manifest has too many layers"};
    return manifest;
  });
}

Result<ConfigFile> ParseConfigFile(std::string_view text) {
  return ReadJson(text, "image config", [](const Json& json) -> Result<ConfigFile> {
    ConfigFile file;
    file.architecture = json.at("architecture").get<std::string>();
    file.os = json.at("os").get<std::string>();
    file.created = Member<std::string>(json, "created");
    if (const auto config = json.find("config"); config != json.end() && !config->is_null()) {
      HMVM_TRY(ReadProcessConfig(*config, file.config));
    }
    const Json& rootfs = json.at("rootfs");
    if (rootfs.at("type") != "layers")
      return Error{0, "image config has a rootfs that is not made of layers"};
    const auto diff_ids = Member<std::vector<std::string>>(rootfs, "diff_ids");
    if (diff_ids.size() > kMaxLayers) return Error{0, "image config has too many layers"};
    for (const std::string& item : diff_ids) {
      HMVM_TRY_ASSIGN(Digest diff_id, Digest::Parse(item));
      file.diff_ids.push_back(std::move(diff_id));
    }
    return file;
  });
}

Result<std::vector<DockerImage>> ParseDockerManifest(std::string_view text) {
  return ReadJson(text, "manifest.json", [](const Json& json) -> Result<std::vector<DockerImage>> {
    std::vector<DockerImage> images;
    for (const Json& item : json.get_ref<const Json::array_t&>()) {
      DockerImage image;
      image.config_path = item.at("Config").get<std::string>();
      image.repo_tags = Member<std::vector<std::string>>(item, "RepoTags");
      image.layer_paths = Member<std::vector<std::string>>(item, "Layers");
      if (image.layer_paths.size() > kMaxLayers) return Error{0, "manifest.json has too many layers"};
      images.push_back(std::move(image));
    }
    return images;
  });
}

}  // namespace hmvm
