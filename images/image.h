#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace hmvm {

// docker's extension of the OCI configuration ("Healthcheck").
struct ImageHealthCheck {
  std::vector<std::string> test = {};  // "NONE"; "CMD" and arguments; "CMD-SHELL" and a line. Empty: not set
  int64_t interval_ns = 0;             // 0: not set, as below; not negative
  int64_t timeout_ns = 0;
  int64_t start_period_ns = 0;
  uint32_t retries = 0;

  bool operator==(const ImageHealthCheck&) const = default;
};

// What an image says of the process to run in it; the words of the OCI image specification ("config"). No
// string holds a NUL byte. Empty means not set.
struct ImageConfig {
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;  // arguments of the entrypoint, or the command itself where there is none
  std::vector<std::string> env;  // "KEY=VALUE", in the image's order
  std::string working_dir;
  std::string user;  // "name|uid[:group|gid]", to be looked up in the image's own /etc/passwd and /etc/group
  std::string stop_signal;  // "SIGTERM", "TERM" or a number
  ImageHealthCheck health_check;
  std::map<std::string, std::string> labels;
  std::vector<std::string> exposed_ports;  // "80/tcp"
  std::vector<std::string> volumes;        // absolute paths

  bool operator==(const ImageConfig&) const = default;
};

// One image of a store. A copy of what the store knew at the time of the call.
struct Image {
  std::string id;  // "sha256:" + 64 hex digits: the digest of the image's config, as docker has it
  std::vector<std::string> names;  // "busybox:latest", sorted; none when other images took its names
  std::string chain_id;            // "sha256:...": of the layers' content, key of the root file system
  std::string rootfs_path;         // one read-only EROFS file, shared by all images with this chain_id
  uint64_t size_bytes = 0;         // of that file
  std::string created;             // RFC 3339, as the image says; empty when it does not
  std::string architecture;        // "amd64"
  ImageConfig config;
};

}  // namespace hmvm
