// What the tests of this folder share: tars written byte by byte, so that they can be as bad as an
// attacker's, and OCI layouts around them.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "images/sha256.h"

namespace hmvm::test {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hmvm-images-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void WriteText(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::FILE* const file = std::fopen(path.c_str(), "w");
  std::fwrite(text.data(), 1, text.size(), file);
  std::fclose(file);
}

// A member of a tar. `type` is ustar's: 0 file, 1 hard link, 2 symbolic link, 3 char, 4 block, 5 directory, 6
// fifo.
struct Member {
  std::string name;
  char type = '0';
  std::string content = {};
  std::string link = {};
  unsigned mode = 0644;
  unsigned uid = 0;
  unsigned gid = 0;
  unsigned mtime = 1000;
  unsigned major = 0;
  unsigned minor = 0;
  std::vector<std::pair<std::string, std::string>> pax = {};
  std::string size_text = {};  // what the header says, where that is not the content's size
};

inline std::string Padded(std::string bytes) {
  bytes.resize((bytes.size() + 511) / 512 * 512, '\0');
  return bytes;
}

inline std::string PaxRecords(const std::vector<std::pair<std::string, std::string>>& records) {
  std::string text;
  for (const auto& [key, value] : records) {
    const std::string body = " " + key + "=" + value + "\n";
    size_t length = body.size() + 1;
    while (std::to_string(length).size() + body.size() != length) ++length;
    text += std::to_string(length) + body;
  }
  return text;
}

inline std::string TarMember(const Member& member) {
  std::string bytes;
  if (!member.pax.empty()) {
    bytes += TarMember({.name = "PaxHeaders/x", .type = 'x', .content = PaxRecords(member.pax)});
  }
  std::string header(512, '\0');
  const auto put = [&header](size_t at, const std::string& text) { header.replace(at, text.size(), text); };
  const auto octal = [](unsigned value, int digits) {
    char text[32];
    std::snprintf(text, sizeof(text), "%0*o", digits, value);
    return std::string(text);
  };
  put(0, member.name.substr(0, 100));
  put(100, octal(member.mode, 7));
  put(108, octal(member.uid, 7));
  put(116, octal(member.gid, 7));
  put(124,
      member.size_text.empty() ? octal(static_cast<unsigned>(member.content.size()), 11) : member.size_text);
  put(136, octal(member.mtime, 11));
  put(148, std::string(8, ' '));
  put(156, std::string(1, member.type));
  put(157, member.link.substr(0, 100));
  put(257, std::string("ustar\0", 6) + "00");
  put(329, octal(member.major, 7));
  put(337, octal(member.minor, 7));
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(148, octal(sum, 6));
  header[154] = '\0';
  return bytes + header + Padded(member.content);
}

inline std::string Tar(const std::vector<Member>& members) {
  std::string bytes;
  for (const Member& member : members) bytes += TarMember(member);
  return bytes + std::string(1024, '\0');
}

inline std::string Compress(const std::string& bytes, int (*add_filter)(archive*)) {
  std::string out(bytes.size() + 65536, '\0');
  size_t used = 0;
  archive* const writer = ::archive_write_new();
  ::archive_write_set_format_raw(writer);
  add_filter(writer);
  ::archive_write_set_bytes_per_block(writer, 0);
  ::archive_write_open_memory(writer, out.data(), out.size(), &used);
  archive_entry* const entry = ::archive_entry_new();
  ::archive_entry_set_filetype(entry, AE_IFREG);
  ::archive_write_header(writer, entry);
  ::archive_write_data(writer, bytes.data(), bytes.size());
  ::archive_entry_free(entry);
  ::archive_write_close(writer);
  ::archive_write_free(writer);
  out.resize(used);
  return out;
}

// A layer of a layout: what the blob is and what the config says of it.
struct LayerBlob {
  std::string bytes;
  std::string media_type = "application/vnd.oci.image.layer.v1.tar";
  std::string content_digest = {};  // default: of `bytes`
};

// An OCI layout directory. Every document can be replaced after it was written.
class Layout {
 public:
  explicit Layout(std::string dir) : dir_(std::move(dir)) { WriteText(dir_ + "/oci-layout", "{}"); }

  std::string BlobPath(const std::string& digest) const { return dir_ + "/blobs/sha256/" + digest.substr(7); }
  // Returns the descriptor.
  std::string AddBlob(const std::string& bytes, const std::string& media_type, const std::string& more = "") {
    const std::string digest = Sha256::Of(bytes).text();
    WriteText(BlobPath(digest), bytes);
    return R"({"mediaType":")" + media_type + R"(","digest":")" + digest + R"(","size":)" +
           std::to_string(bytes.size()) + more + "}";
  }
  // Returns the manifest's descriptor. `config` is the inside of the config's "config".
  std::string AddImage(const std::vector<LayerBlob>& layers, const std::string& config = "",
                       const std::string& more = "", const std::string& architecture = "amd64") {
    std::string blobs;
    std::string diff_ids;
    for (const LayerBlob& layer : layers) {
      blobs += (blobs.empty() ? "" : ",") + AddBlob(layer.bytes, layer.media_type);
      const std::string content =
          layer.content_digest.empty() ? Sha256::Of(layer.bytes).text() : layer.content_digest;
      diff_ids += (diff_ids.empty() ? "\"" : ",\"") + content + "\"";
    }
    const std::string config_descriptor =
        AddBlob(R"({"architecture":")" + architecture + R"(","os":"linux","config":{)" + config +
                    R"(},"rootfs":{"type":"layers","diff_ids":[)" + diff_ids + "]}}",
                "application/vnd.oci.image.config.v1+json");
    return AddBlob(R"({"schemaVersion":2,"config":)" + config_descriptor + R"(,"layers":[)" + blobs + "]}",
                   "application/vnd.oci.image.manifest.v1+json", more);
  }
  void WriteIndex(const std::string& descriptors) const {
    WriteText(dir_ + "/index.json", R"({"schemaVersion":2,"manifests":[)" + descriptors + "]}");
  }
  const std::string& dir() const { return dir_; }

 private:
  std::string dir_;
};

inline std::string Named(const std::string& name) {
  return R"(,"annotations":{"org.opencontainers.image.ref.name":")" + name + "\"}";
}

}  // namespace hmvm::test
