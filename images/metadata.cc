#include "images/metadata.h"

#include "images/digest.h"
#include "images/json.h"
#include "images/name.h"

namespace hmvm {
namespace {

using Json = nlohmann::json;

// Rises when a reader of the older format would misread the newer one.
constexpr int kVersion = 1;

Result<> CheckVersion(const Json& json) {
  if (json.at("version") == kVersion) return {};
  return Error{0, "version " + json.at("version").dump() + " is not known to this hmvm"};
}

Result<std::string> ReadDigest(const Json& json, const char* key) {
  HMVM_TRY_ASSIGN(const Digest digest, Digest::Parse(json.at(key).get_ref<const std::string&>()));
  return digest.text();
}

}  // namespace

std::string FormatImageFile(const Image& image) {
  const ImageConfig& config = image.config;
  const Json json = {{"version", kVersion},
                     {"id", image.id},
                     {"chain_id", image.chain_id},
                     {"size_bytes", image.size_bytes},
                     {"created", image.created},
                     {"architecture", image.architecture},
                     {"config",
                      {{"entrypoint", config.entrypoint},
                       {"cmd", config.cmd},
                       {"env", config.env},
                       {"working_dir", config.working_dir},
                       {"user", config.user},
                       {"stop_signal", config.stop_signal},
                       {"health_check",
                        {{"test", config.health_check.test},
                         {"interval_ns", config.health_check.interval_ns},
                         {"timeout_ns", config.health_check.timeout_ns},
                         {"start_period_ns", config.health_check.start_period_ns},
                         {"retries", config.health_check.retries}}},
                       {"labels", config.labels},
                       {"exposed_ports", config.exposed_ports},
                       {"volumes", config.volumes}}}};
  return json.dump(2) + "\n";
}

Result<Image> ParseImageFile(std::string_view text) {
  return ReadJson(text, "image metadata", [](const Json& json) -> Result<Image> {
    HMVM_TRY(CheckVersion(json));
    Image image;
    HMVM_TRY_ASSIGN(image.id, ReadDigest(json, "id"));
    HMVM_TRY_ASSIGN(image.chain_id, ReadDigest(json, "chain_id"));
    json.at("size_bytes").get_to(image.size_bytes);
    json.at("created").get_to(image.created);
    json.at("architecture").get_to(image.architecture);
    const Json& config = json.at("config");
    config.at("entrypoint").get_to(image.config.entrypoint);
    config.at("cmd").get_to(image.config.cmd);
    config.at("env").get_to(image.config.env);
    config.at("working_dir").get_to(image.config.working_dir);
    config.at("user").get_to(image.config.user);
    config.at("stop_signal").get_to(image.config.stop_signal);
    if (config.contains("health_check")) {  // images of an earlier hmvm have none
      const Json& check = config.at("health_check");
      check.at("test").get_to(image.config.health_check.test);
      check.at("interval_ns").get_to(image.config.health_check.interval_ns);
      check.at("timeout_ns").get_to(image.config.health_check.timeout_ns);
      check.at("start_period_ns").get_to(image.config.health_check.start_period_ns);
      check.at("retries").get_to(image.config.health_check.retries);
    }
    config.at("labels").get_to(image.config.labels);
    config.at("exposed_ports").get_to(image.config.exposed_ports);
    config.at("volumes").get_to(image.config.volumes);
    return image;
  });
}

std::string FormatNameFile(const NameFile& file) {
  return Json({{"version", kVersion}, {"name", file.name}, {"id", file.id}}).dump() + "\n";
}

Result<NameFile> ParseNameFile(std::string_view text) {
  return ReadJson(text, "name metadata", [](const Json& json) -> Result<NameFile> {
    HMVM_TRY(CheckVersion(json));
    NameFile file;
    HMVM_TRY_ASSIGN(file.name, NormalizeName(json.at("name").get_ref<const std::string&>()));
    HMVM_TRY_ASSIGN(file.id, ReadDigest(json, "id"));
    return file;
  });
}

std::string NameFileName(const std::string& name) {
  std::string encoded;
  for (const char c : name) encoded += c == '/' ? "%2F" : std::string(1, c);  // a valid name holds no '%'
  return encoded + ".json";
}

}  // namespace hmvm
