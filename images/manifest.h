// The JSON documents that describe an image: OCI index, manifest and config, docker's archive manifest. Input
// is hostile: each function bounds it, checks every field it returns, and says in one sentence what is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "images/digest.h"
#include "images/image.h"

namespace hmvm {

// No document is larger; registries refuse manifests beyond 4 MiB, but a config may hold a long history.
inline constexpr size_t kMaxDocumentBytes = 8 << 20;
inline constexpr size_t kMaxLayers = 500;

// image-spec, descriptor.md.
struct Descriptor {
  std::string media_type;
  Digest digest;
  uint64_t size_bytes = 0;
  std::string os;            // of `platform`; empty when there is none
  std::string architecture;  // of `platform`
  std::string variant;       // of `platform`
  std::string name;          // a full name or only a tag, from the annotations; empty when there is none
};

struct OciManifest {
  Descriptor config;
  std::vector<Descriptor> layers;  // the base first
};

struct ConfigFile {
  ImageConfig config;
  std::string created;
  std::string architecture;
  std::string os;
  std::vector<Digest> diff_ids;  // of the uncompressed layers, the base first
};

// One image of a `docker save` archive: paths within the archive.
struct DockerImage {
  std::string config_path;
  std::vector<std::string> repo_tags;
  std::vector<std::string> layer_paths;
};

bool IsIndexMediaType(std::string_view media_type);
bool IsManifestMediaType(std::string_view media_type);

Result<std::vector<Descriptor>> ParseIndex(std::string_view text);
Result<OciManifest> ParseManifest(std::string_view text);
Result<ConfigFile> ParseConfigFile(std::string_view text);
Result<std::vector<DockerImage>> ParseDockerManifest(std::string_view text);

}  // namespace hmvm
