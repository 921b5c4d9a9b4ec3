#include "runtime/snapshot/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <nlohmann/json.hpp>

#include "base/file.h"

namespace hmvm {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr char kMachine[] = "/machine.pb";
constexpr char kMemory[] = "/memory";
constexpr char kContainer[] = "/container.json";
constexpr const char* kFiles[] = {kMachine, kMemory, kContainer};
constexpr size_t kContainerLimitBytes = 16 << 20;
constexpr int kVersion = 1;
constexpr char kDraftPrefix[] = ".draft-";

Result<> MakeFolder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return Error{error.value(), "create folder '" + path + "'"};
  // A guest's memory is nobody else's to look at.
  if (::chmod(path.c_str(), 0700) < 0) return Error{errno, "protect folder '" + path + "'"};
  return {};
}

void RemoveTree(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

Result<SnapshotFiles> OpenIn(const std::string& folder) {
  SnapshotFiles files;
  HMVM_TRY_ASSIGN(files.machine, OpenFile(folder + kMachine, O_RDONLY));
  HMVM_TRY_ASSIGN(files.memory, OpenFile(folder + kMemory, O_RDONLY));
  HMVM_TRY_ASSIGN(const std::string text, ReadFile(folder + kContainer, kContainerLimitBytes));
  auto container = DecodeSnapshotContainer(text);
  if (!container.has_value()) return Wrap("'" + folder + kContainer + "'", container.error());
  files.container = std::move(*container);
  return files;
}

Result<> Sync(const std::string& path) {
  HMVM_TRY_ASSIGN(const UniqueFd file, OpenFile(path, O_RDONLY));
  if (::fsync(file.get()) < 0) return Error{errno, "fsync '" + path + "'"};
  return {};
}

}  // namespace

std::string EncodeSnapshotContainer(const SnapshotContainer& container) {
  return ordered_json{{"version", kVersion},
                      {"guest_id", container.guest_id},
                      {"stdin_stream", container.stdin_stream},
                      {"stdout_stream", container.stdout_stream},
                      {"stderr_stream", container.stderr_stream},
                      {"container", EncodeContainerRecord(container.origin)}}
             .dump(2, ' ', false, ordered_json::error_handler_t::replace) +
         "\n";
}

Result<SnapshotContainer> DecodeSnapshotContainer(std::string_view text) {
  const auto json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  SnapshotContainer container;
  try {
    if (json.at("version").get<int>() != kVersion) return Error{0, "it is of another version of hmvm"};
    container.guest_id = json.at("guest_id").get<std::string>();
    container.stdin_stream = json.at("stdin_stream").get<uint64_t>();
    container.stdout_stream = json.at("stdout_stream").get<uint64_t>();
    container.stderr_stream = json.at("stderr_stream").get<uint64_t>();
    HMVM_TRY_ASSIGN(container.origin, DecodeContainerRecord(json.at("container").get<std::string>()));
  } catch (const nlohmann::json::exception&) {
    return Error{0, "it is no description of a container"};
  }
  return container;
}

SnapshotStore::Draft::Draft(const SnapshotStore& store, std::string folder, UniqueFd lock)
    : store_(&store), folder_(std::move(folder)), lock_(std::move(lock)) {}

SnapshotStore::Draft::Draft(Draft&& other) noexcept
    : store_(std::exchange(other.store_, nullptr)),
      folder_(std::move(other.folder_)),
      lock_(std::move(other.lock_)) {}

SnapshotStore::Draft::~Draft() {
  if (store_ != nullptr) RemoveTree(folder_);
}

Result<SnapshotFiles> SnapshotStore::Draft::Open() const { return OpenIn(folder_); }

Result<> SnapshotStore::Draft::Commit(const std::string& name) {
  HMVM_TRY(CheckContainerName(name));
  for (const char* file : kFiles) HMVM_TRY(Sync(folder_ + file));
  const std::string target = store_->Folder(name);
  // Fails for a folder that is there, as a snapshot's is not empty.
  if (::rename(folder_.c_str(), target.c_str()) < 0) {
    const bool taken = errno == ENOTEMPTY || errno == EEXIST;
    return Error{taken ? EEXIST : errno, "create folder '" + target + "'"};
  }
  const std::string all = std::exchange(store_, nullptr)->folder_;
  return Sync(all);
}

Result<SnapshotStore::Draft> SnapshotStore::Begin() const {
  HMVM_TRY(MakeFolder(folder_));
  Sweep();
  std::string folder = folder_ + "/" + kDraftPrefix + "XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return Error{errno, "create a folder in '" + folder_ + "'"};
  HMVM_TRY_ASSIGN(UniqueFd lock, OpenFile(folder, O_RDONLY | O_DIRECTORY));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) return Error{errno, "lock '" + folder + "'"};
  return Draft(*this, std::move(folder), std::move(lock));
}

// A draft that nobody holds is what a killed command left. One that is just being made may go, too: its maker
// is told.
void SnapshotStore::Sweep() const {
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    if (!it->path().filename().string().starts_with(kDraftPrefix)) continue;
    const auto lock = OpenFile(path, O_RDONLY | O_DIRECTORY);
    if (lock.has_value() && ::flock(lock->get(), LOCK_EX | LOCK_NB) == 0) RemoveTree(path);
  }
}

Result<SnapshotFiles> SnapshotStore::Open(const std::string& name) const {
  if (!CheckContainerName(name).has_value() || ::access(Folder(name).c_str(), F_OK) < 0) {
    return Error{ENOENT, "snapshot '" + name + "'"};
  }
  return OpenIn(Folder(name));
}

Result<std::vector<SnapshotInfo>> SnapshotStore::List() const {
  std::vector<SnapshotInfo> infos;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (CheckContainerName(name).has_value()) infos.push_back(Read(name));
  }
  if (error && error.value() != ENOENT) return Error{error.value(), "read folder '" + folder_ + "'"};
  std::ranges::sort(infos, std::greater(), &SnapshotInfo::taken_unix_ns);
  return infos;
}

SnapshotInfo SnapshotStore::Read(const std::string& name) const {
  SnapshotInfo info;
  info.name = name;
  struct stat status = {};
  for (const char* file : kFiles) {
    if (::stat((Folder(name) + file).c_str(), &status) < 0) continue;
    info.disk_bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    info.taken_unix_ns = int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  }
  const auto files = OpenIn(Folder(name));
  if (!files.has_value()) {
    info.problem = files.error().Message();
    return info;
  }
  info.container = files->container.origin.name;
  info.image = files->container.origin.config.image;
  return info;
}

Result<> SnapshotStore::Remove(const std::string& name) const {
  if (!CheckContainerName(name).has_value() || ::access(Folder(name).c_str(), F_OK) < 0) {
    return Error{ENOENT, "snapshot '" + name + "'"};
  }
  std::error_code error;
  fs::remove_all(Folder(name), error);
  if (error) return Error{error.value(), "remove folder '" + Folder(name) + "'"};
  return {};
}

}  // namespace hmvm
