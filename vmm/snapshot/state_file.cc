#include "vmm/snapshot/state_file.h"

#include <unistd.h>
#include <xxhash.h>

#include <cstdio>
#include <cstring>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "vmm/snapshot/memory_map.h"

namespace hmvm {
namespace {

constexpr char kMagic[8] = {'H', 'M', 'V', 'M', 'S', 'N', 'A', 'P'};

struct Header {  // little endian, as all of x86
  char magic[8];
  uint32_t format;
  uint32_t state_bytes;
  uint64_t checksum;  // XXH3-64 of the state
};
static_assert(sizeof(Header) == 24);

// Names the last file of the machine's memory; empty where the state's manifest is none.
std::string MemoryIdOf(const snapshot::MachineState& state) {
  const auto map = MemoryMap::FromManifest(state.memory());
  std::string hex;
  if (!map.has_value()) return hex;
  for (const std::byte byte : map->files().back().id) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", std::to_integer<unsigned>(byte));
    hex += digits;
  }
  return hex;
}

}  // namespace

std::string EncodeState(const snapshot::MachineState& state) {
  std::string file(sizeof(Header), '\0');
  state.AppendToString(&file);
  const std::string_view body = std::string_view(file).substr(sizeof(Header));
  Header header = {.magic = {},
                   .format = kStateFormat,
                   .state_bytes = static_cast<uint32_t>(body.size()),
                   .checksum = XXH3_64bits(body.data(), body.size())};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::memcpy(file.data(), &header, sizeof(header));
  return file;
}

Result<snapshot::MachineState> DecodeState(std::string_view file) {
  Header header;
  if (file.size() < sizeof(header))
    return Error{0, "not a snapshot's state: only " + std::to_string(file.size()) + " bytes"};
  std::memcpy(&header, file.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return Error{0, "not a snapshot's state: it does not begin with HMVMSNAP"};
  }
  if (header.format != kStateFormat) {
    return Error{0, "snapshot format " + std::to_string(header.format) + "; this hmvm reads " +
                        std::to_string(kStateFormat) + " alone"};
  }
  const std::string_view body = file.substr(sizeof(header));
  if (header.state_bytes != body.size()) {
    return Error{0, "cut or damaged: " + std::to_string(body.size()) + " bytes of state in place of " +
                        std::to_string(header.state_bytes)};
  }
  if (header.checksum != XXH3_64bits(body.data(), body.size())) {
    return Error{0, "damaged: its checksum is wrong"};
  }
  snapshot::MachineState state;
  if (!state.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return Error{0, "damaged: it can't be parsed"};
  }
  return state;
}

Result<snapshot::MachineState> ReadState(int fd, const std::string& name) {
  HMVM_TRY_ASSIGN(const uint64_t size_bytes, FileSize(fd, name));
  if (size_bytes > kMaxStateBytes) return Error{EFBIG, "'" + name + "' as a snapshot's state"};
  std::string file(size_bytes, '\0');
  if (::lseek(fd, 0, SEEK_SET) < 0) return Error{errno, "seek in '" + name + "'"};
  HMVM_TRY_ASSIGN(const size_t read_bytes, ReadFull(fd, std::as_writable_bytes(std::span(file))));
  file.resize(read_bytes);
  auto state = DecodeState(file);
  if (!state.has_value()) return Wrap("snapshot '" + name + "'", state.error());
  return state;
}

std::string StateReport(const snapshot::MachineState& state) {
  nlohmann::json devices = nlohmann::json::array();
  uint64_t memory_bytes = state.memory_bytes();
  for (const snapshot::VirtioState& device : state.virtio()) {
    nlohmann::json entry = {{"name", device.name()}};
    if (device.has_blk()) entry["sectors"] = device.blk().sectors();
    if (device.has_mem()) memory_bytes += device.mem().added_bytes();
    devices.push_back(std::move(entry));
  }
  const nlohmann::json report = {{"format", kStateFormat},
                                 {"hmvm_version", state.hmvm_version()},
                                 {"taken_realtime_ns", state.taken_realtime_ns()},
                                 {"platform", state.platform()},
                                 {"cpus", state.vcpus_size()},
                                 {"memory_bytes", memory_bytes},
                                 {"kernel", state.kernel()},
                                 {"cpu", state.host().cpu_name()},
                                 {"host_kernel", state.host().kernel_release()},
                                 {"devices", std::move(devices)},
                                 {"memory_files", state.memory().files_size()},
                                 {"memory_id", MemoryIdOf(state)}};
  // Strings may come from anybody: what is no UTF-8 is shown as such.
  return report.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace hmvm
