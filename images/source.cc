#include "images/source.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/escape.h"
#include "base/file.h"
#include "images/name.h"
#include "images/sha256.h"

namespace hmvm {
namespace {

constexpr char kOs[] = "linux";
constexpr char kArchitecture[] = "amd64";

std::string BlobPath(const Digest& digest) { return "blobs/sha256/" + digest.hex; }

Result<std::string> ReadDocument(int directory, const std::string& path) {
  HMVM_TRY_ASSIGN(const UniqueFd fd, OpenBelow(directory, path));
  HMVM_TRY_ASSIGN(const uint64_t size_bytes, FileSize(fd.get(), path));
  if (size_bytes > kMaxDocumentBytes) return Error{EFBIG, "read '" + Escape(path) + "'"};
  std::string text(size_bytes, '\0');
  HMVM_TRY_ASSIGN(const size_t got, ReadFull(fd.get(), std::as_writable_bytes(std::span(text))));
  text.resize(got);
  return text;
}

Result<std::string> ReadBlob(int directory, const Descriptor& descriptor) {
  HMVM_TRY_ASSIGN(std::string text, ReadDocument(directory, BlobPath(descriptor.digest)));
  if (text.size() != descriptor.size_bytes)
    return Error{0, "blob " + descriptor.digest.text() + " has the wrong size"};
  if (Sha256::Of(text) != descriptor.digest) {
    return Error{0, "blob " + descriptor.digest.text() + " has the wrong digest: it is damaged"};
  }
  return text;
}

bool Fits(const Descriptor& descriptor) {
  return (descriptor.os.empty() || descriptor.os == kOs) &&
         (descriptor.architecture.empty() || descriptor.architecture == kArchitecture);
}

// The manifests for this platform in an index and those nested in it; a nested one inherits the outer name.
Result<> CollectManifests(int directory, const std::vector<Descriptor>& index, const std::string& name,
                          int depth, std::vector<Descriptor>& manifests) {
  constexpr int kMaxDepth = 4;
  constexpr size_t kMaxManifests = 1000;
  if (depth > kMaxDepth) return Error{0, "image index is nested too deeply"};
  const size_t first = manifests.size();
  for (Descriptor descriptor : index) {
    if (!name.empty()) descriptor.name = name;
    if (!Fits(descriptor)) continue;
    if (manifests.size() > kMaxManifests) return Error{0, "image index has too many manifests"};
    if (IsIndexMediaType(descriptor.media_type)) {
      HMVM_TRY_ASSIGN(const std::string text, ReadBlob(directory, descriptor));
      HMVM_TRY_ASSIGN(const std::vector<Descriptor> nested, ParseIndex(text));
      HMVM_TRY(CollectManifests(directory, nested, descriptor.name, depth + 1, manifests));
    } else if (IsManifestMediaType(descriptor.media_type)) {
      manifests.push_back(std::move(descriptor));
    } else {
      return Error{
          0, "unknown media type '" + Escape(descriptor.media_type) + "' of " + descriptor.digest.text()};
    }
  }
  // A nested index is one image for several platforms: of the amd64 variants the plain one runs everywhere.
  if (depth > 0 && manifests.size() > first + 1) {
    const auto plain = std::find_if(manifests.begin() + static_cast<ptrdiff_t>(first), manifests.end(),
                                    [](const Descriptor& item) { return item.variant.empty(); });
    if (plain != manifests.end()) manifests[first] = *plain;
    manifests.resize(first + 1);
  }
  return {};
}

// The name in full: a bare word in an annotation is a tag (umoci and skopeo write it so).
std::string FullName(const std::string& name, const std::string& fallback) {
  const bool is_tag = !name.empty() && name.find_first_of(":/") == std::string::npos;
  std::string full = name.empty() ? fallback : name;
  if (is_tag) full = fallback.empty() ? name : fallback + ":" + name;
  auto normalized = NormalizeName(full);
  return normalized.has_value() ? *normalized : "";
}

// Of `names`, one list for each image: the image to take.
Result<size_t> Choose(const std::vector<std::vector<std::string>>& names, const std::string& wanted) {
  if (names.empty()) return Error{0, "no image for linux/amd64 in it"};
  if (names.size() == 1) return size_t{0};
  std::string all;
  for (size_t i = 0; i < names.size(); ++i) {
    if (!wanted.empty() && std::find(names[i].begin(), names[i].end(), wanted) != names[i].end()) return i;
    for (const std::string& name : names[i]) all += (all.empty() ? "" : ", ") + name;
  }
  return Error{0, std::to_string(names.size()) + " images are in it; choose one by its name: " + all};
}

Result<> CheckConfig(const ConfigFile& config, size_t layers) {
  if (config.os != kOs || config.architecture != kArchitecture) {
    return Error{0, "the image is for " + Escape(config.os) + "/" + Escape(config.architecture) +
                        ", but hmvm runs linux/amd64"};
  }
  if (config.diff_ids.size() != layers) {
    return Error{0, "the image has " + std::to_string(layers) + " layers, but its config tells of " +
                        std::to_string(config.diff_ids.size())};
  }
  return {};
}

Result<Compression> CompressionOf(const Descriptor& layer) {
  const std::string& type = layer.media_type;
  for (const char* prefix : {"application/vnd.oci.image.layer.v1.tar",
                             "application/vnd.oci.image.layer.nondistributable.v1.tar"}) {
    if (type == prefix) return Compression::kPlain;
    if (type == std::string(prefix) + "+gzip") return Compression::kGzip;
    if (type == std::string(prefix) + "+zstd") return Compression::kZstd;
  }
  for (const char* prefix : {"application/vnd.docker.image.rootfs.diff.tar",
                             "application/vnd.docker.image.rootfs.foreign.diff.tar"}) {
    if (type == prefix) return Compression::kPlain;
    if (type == std::string(prefix) + ".gzip") return Compression::kGzip;
    if (type == std::string(prefix) + ".zstd") return Compression::kZstd;
  }
  return Error{0, "unknown media type '" + Escape(type) + "' of layer " + layer.digest.text()};
}

Result<ImageSource> ReadLayout(int directory, const std::string& fallback_name, const std::string& wanted) {
  HMVM_TRY_ASSIGN(const std::string index_text, ReadDocument(directory, "index.json"));
  HMVM_TRY_ASSIGN(const std::vector<Descriptor> index, ParseIndex(index_text));
  std::vector<Descriptor> manifests;
  HMVM_TRY(CollectManifests(directory, index, "", 0, manifests));
  // One image may be listed once for each of its names.
  std::vector<Descriptor> images;
  std::vector<std::vector<std::string>> names;
  for (const Descriptor& manifest : manifests) {
    const auto same = std::find_if(images.begin(), images.end(),
                                   [&](const Descriptor& image) { return image.digest == manifest.digest; });
    const size_t at = static_cast<size_t>(same - images.begin());
    if (same == images.end()) {
      images.push_back(manifest);
      names.emplace_back();
    }
    if (std::string name = FullName(manifest.name, fallback_name); !name.empty()) names[at].push_back(name);
  }
  HMVM_TRY_ASSIGN(const size_t chosen, Choose(names, wanted));

  ImageSource source;
  source.names = names[chosen];
  HMVM_TRY_ASSIGN(const std::string manifest_text, ReadBlob(directory, images[chosen]));
  HMVM_TRY_ASSIGN(const OciManifest manifest, ParseManifest(manifest_text));
  if (manifest.config.media_type != "application/vnd.oci.image.config.v1+json" &&
      manifest.config.media_type != "application/vnd.docker.container.image.v1+json") {
    return Error{0, "unknown media type '" + Escape(manifest.config.media_type) + "' of the image's config"};
  }
  HMVM_TRY_ASSIGN(const std::string config_text, ReadBlob(directory, manifest.config));
  HMVM_TRY_ASSIGN(source.config, ParseConfigFile(config_text));
  HMVM_TRY(CheckConfig(source.config, manifest.layers.size()));
  source.id = manifest.config.digest;
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    const Descriptor& layer = manifest.layers[i];
    HMVM_TRY_ASSIGN(const Compression compression, CompressionOf(layer));
    source.layers.push_back({BlobPath(layer.digest), compression, layer.digest, source.config.diff_ids[i]});
  }
  return source;
}

// The digest that a path of an archive promises: "HEX.json", "blobs/sha256/HEX".
std::optional<Digest> DigestInPath(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);  // npos + 1 is 0
  if (path.ends_with(".json")) path.remove_suffix(5);
  auto digest = Digest::Parse("sha256:" + std::string(path));
  return digest.has_value() ? std::optional(*digest) : std::nullopt;
}

Result<ImageSource> ReadDockerArchive(int directory, const std::string& fallback_name,
                                      const std::string& wanted) {
  HMVM_TRY_ASSIGN(const std::string text, ReadDocument(directory, "manifest.json"));
  HMVM_TRY_ASSIGN(const std::vector<DockerImage> images, ParseDockerManifest(text));
  std::vector<std::vector<std::string>> names;
  for (const DockerImage& image : images) {
    std::vector<std::string>& of_image = names.emplace_back();
    for (const std::string& tag : image.repo_tags) {
      HMVM_TRY_ASSIGN(std::string name, NormalizeName(tag));
      of_image.push_back(std::move(name));
    }
    if (std::string name = FullName("", fallback_name); of_image.empty() && !name.empty())
      of_image.push_back(name);
  }
  HMVM_TRY_ASSIGN(const size_t chosen, Choose(names, wanted));

  const DockerImage& image = images[chosen];
  ImageSource source;
  source.names = names[chosen];
  HMVM_TRY_ASSIGN(const std::string config_text, ReadDocument(directory, image.config_path));
  source.id = Sha256::Of(config_text);
  const std::optional<Digest> promised = DigestInPath(image.config_path);
  if (promised && *promised != source.id) {
    return Error{0, "config '" + Escape(image.config_path) + "' has the wrong digest: it is damaged"};
  }
  HMVM_TRY_ASSIGN(source.config, ParseConfigFile(config_text));
  HMVM_TRY(CheckConfig(source.config, image.layer_paths.size()));
  for (size_t i = 0; i < image.layer_paths.size(); ++i) {
    source.layers.push_back(
        {image.layer_paths[i], Compression::kDetect, std::nullopt, source.config.diff_ids[i]});
  }
  return source;
}

bool Exists(int directory, const char* name) { return ::faccessat(directory, name, F_OK, 0) == 0; }

}  // namespace

Result<UniqueFd> OpenBelow(int directory, const std::string& path) {
  open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;  // looked at before it is opened: opening a device node can do things
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const UniqueFd found(static_cast<int>(::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof(how))));
  if (!found.valid()) return Error{errno, "open '" + Escape(path) + "' of the image"};
  struct stat status = {};
  if (::fstat(found.get(), &status) < 0 || !S_ISREG(status.st_mode)) {
    return Error{0, "'" + Escape(path) + "' of the image is not a regular file"};
  }
  return OpenFile("/proc/self/fd/" + std::to_string(found.get()), O_RDONLY);
}

Result<ImageSource> ReadImageSource(int directory, const std::string& fallback_name,
                                    const std::string& wanted) {
  if (Exists(directory, "index.json")) return ReadLayout(directory, fallback_name, wanted);
  if (Exists(directory, "manifest.json")) return ReadDockerArchive(directory, fallback_name, wanted);
  return Error{0, "neither an OCI image (index.json) nor a 'docker save' archive (manifest.json)"};
}

}  // namespace hmvm
