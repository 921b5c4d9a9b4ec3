#include "runtime/snapshot/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <map>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/folder.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

constexpr char kMachine[] = "/machine.pb";
constexpr char kMemory[] = "/memory";
constexpr char kParentMemory[] = "/memory.";  // and a number
constexpr char kContainer[] = "/container.json";
constexpr const char* kFiles[] = {kMachine, kMemory, kContainer};
constexpr size_t kContainerLimitBytes = 16 << 20;
constexpr int kVersion = 2;
constexpr char kChecksum[] = "checksum";  // XXH3-64 of all else, as Dump() writes it
constexpr char kDraftPrefix[] = ".draft-";

std::string Dump(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

uint64_t Checksum(const ordered_json& json) {
  const std::string text = Dump(json);
  return XXH3_64bits(text.data(), text.size());
}

// The memory files of a snapshot, in the order of the chain.
std::vector<std::string> MemoryPaths(const std::string& folder) {
  std::vector<std::string> paths;
  for (size_t i = 0; i < kMaxSnapshotChain; ++i) {
    std::string path = folder + kParentMemory + std::to_string(i);
    if (::access(path.c_str(), F_OK) < 0) break;
    paths.push_back(std::move(path));
  }
  paths.push_back(folder + kMemory);
  return paths;
}

Result<SnapshotContainer> ReadContainer(const std::string& folder) {
  HMVM_TRY_ASSIGN(const std::string text, ReadFile(folder + kContainer, kContainerLimitBytes));
  auto container = DecodeSnapshotContainer(text);
  if (!container.has_value()) return Wrap("'" + folder + kContainer + "'", container.error());
  return container;
}

Result<SnapshotFiles> OpenIn(const std::string& folder) {
  SnapshotFiles files;
  HMVM_TRY_ASSIGN(files.machine, OpenFile(folder + kMachine, O_RDONLY));
  for (const std::string& path : MemoryPaths(folder)) {
    HMVM_TRY_ASSIGN(UniqueFd memory, OpenFile(path, O_RDONLY));
    files.memory.push_back(std::move(memory));
  }
  HMVM_TRY_ASSIGN(files.container, ReadContainer(folder));
  return files;
}

using FileIdentity = std::pair<dev_t, ino_t>;
std::optional<FileIdentity> IdentityOf(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) < 0) return std::nullopt;
  return FileIdentity(status.st_dev, status.st_ino);
}

Result<> Sync(const std::string& path) {
  HMVM_TRY_ASSIGN(const UniqueFd file, OpenFile(path, O_RDONLY));
  if (::fsync(file.get()) < 0) return Error{errno, "fsync '" + path + "'"};
  return {};
}

}  // namespace

std::string EncodeSnapshotContainer(const SnapshotContainer& container) {
  ordered_json json = {{"version", kVersion},
                       {"guest_id", container.guest_id},
                       {"stdin_stream", container.stdin_stream},
                       {"stdout_stream", container.stdout_stream},
                       {"stderr_stream", container.stderr_stream},
                       {"container", EncodeContainerRecord(container.origin)}};
  json[kChecksum] = Checksum(json);
  return Dump(json) + "\n";
}

Result<SnapshotContainer> DecodeSnapshotContainer(std::string_view text) {
  auto json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  SnapshotContainer container;
  // An exception where it is no whole number: of others, get() would make one, or what is not defined.
  const auto number = [&json](const char* key) { return json.at(key).get_ref<const uint64_t&>(); };
  try {
    if (number("version") != kVersion) return Error{0, "it is of another version of hmvm"};
    const uint64_t checksum = number(kChecksum);
    json.erase(kChecksum);
    if (checksum != Checksum(json)) return Error{0, "damaged: its checksum is wrong"};
    container.guest_id = json.at("guest_id").get<std::string>();
    container.stdin_stream = number("stdin_stream");
    container.stdout_stream = number("stdout_stream");
    container.stderr_stream = number("stderr_stream");
    HMVM_TRY_ASSIGN(container.origin, DecodeContainerRecord(json.at("container").get<std::string>()));
  } catch (const nlohmann::json::exception&) {
    return Error{0, "it is no description of a container"};
  }
  return container;
}

void TakeNoMonitorPolicy(SnapshotContainer& container) {
  const ContainerConfig defaults;
  ContainerConfig& config = container.origin.config;
  config.seccomp = defaults.seccomp;
  config.security_profile = defaults.security_profile;
  config.profile = defaults.profile;
}

SnapshotStore::Draft::Draft(const SnapshotStore& store, std::string folder, UniqueFd lock)
    : store_(&store), folder_(std::move(folder)), lock_(std::move(lock)) {}

SnapshotStore::Draft::Draft(Draft&& other) noexcept
    : store_(std::exchange(other.store_, nullptr)),
      folder_(std::move(other.folder_)),
      lock_(std::move(other.lock_)) {}

SnapshotStore::Draft::~Draft() {
  if (store_ != nullptr) (void)RemoveTree(folder_);  // what stays goes with the next Sweep()
}

Result<> SnapshotStore::Draft::BuildUpon(const std::string& parent) const {
  HMVM_TRY(store_->CheckThere(parent));
  const std::vector<std::string> chain = MemoryPaths(store_->Folder(parent));
  if (chain.size() >= kMaxSnapshotChain) return Error{EMFILE, "snapshot '" + parent + "'"};
  for (size_t i = 0; i < chain.size(); ++i) {
    const std::string link = folder() + kParentMemory + std::to_string(i);
    if (::link(chain[i].c_str(), link.c_str()) < 0) {
      return Error{errno, "link '" + chain[i] + "' to '" + link + "'"};
    }
  }
  return {};
}

Result<> SnapshotStore::Draft::TakeNoMonitorPolicy() const {
  HMVM_TRY_ASSIGN(SnapshotContainer container, ReadContainer(folder()));
  hmvm::TakeNoMonitorPolicy(container);
  return WriteFileAtomic(folder() + kContainer, EncodeSnapshotContainer(container), 0600,
                         Outlives::kThisProcess);  // Commit() syncs
}

Result<SnapshotFiles> SnapshotStore::Draft::Open() const { return OpenIn(folder()); }

Result<> SnapshotStore::Draft::Commit(const std::string& name) const {
  HMVM_TRY(CheckContainerName(name));
  for (const char* file : kFiles) HMVM_TRY(Sync(folder() + file));
  HMVM_TRY(Sync(folder()));
  const std::string target = store_->Folder(name);
  // Fails for a folder that is there, as a snapshot's is not empty.
  if (::rename(folder().c_str(), target.c_str()) < 0) {
    const bool taken = errno == ENOTEMPTY || errno == EEXIST;
    return Error{taken ? EEXIST : errno, "create folder '" + target + "'"};
  }
  return Sync(store_->folder_);
}

Result<SnapshotStore::Draft> SnapshotStore::Begin() const {
  HMVM_TRY(MakePrivateFolder(folder_));  // a guest's memory is nobody else's to look at
  HMVM_TRY_ASSIGN(const UniqueFd store_lock, Sweep());
  std::string folder = folder_ + "/" + kDraftPrefix + "XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return Error{errno, "create a folder in '" + folder_ + "'"};
  HMVM_TRY_ASSIGN(UniqueFd lock, OpenFile(folder, O_RDONLY | O_DIRECTORY));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) return Error{errno, "lock '" + folder + "'"};
  Draft draft(*this, std::move(folder), std::move(lock));
  HMVM_TRY(MakePrivateFolder(draft.folder()));
  return draft;
}

// A draft that nobody holds is what a killed command left. The lock that comes back keeps others from looking
// for such while one is made, or a snapshot removed.
Result<UniqueFd> SnapshotStore::Sweep() const {
  HMVM_TRY_ASSIGN(UniqueFd store_lock, OpenFile(folder_, O_RDONLY | O_DIRECTORY));
  if (::flock(store_lock.get(), LOCK_EX) < 0) return Error{errno, "lock '" + folder_ + "'"};
  HMVM_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(folder_));
  for (const std::string& name : names) {
    if (!name.starts_with(kDraftPrefix)) continue;
    const std::string draft = folder_ + "/" + name;
    const auto lock = OpenFile(draft, O_RDONLY | O_DIRECTORY);
    if (lock.has_value() && ::flock(lock->get(), LOCK_EX | LOCK_NB) == 0) (void)RemoveTree(draft);
  }
  return store_lock;
}

Result<> SnapshotStore::CheckThere(const std::string& name) const {
  if (CheckContainerName(name).has_value() && ::access(Folder(name).c_str(), F_OK) == 0) return {};
  return Error{ENOENT, "snapshot '" + name + "'"};
}

Result<SnapshotFiles> SnapshotStore::Open(const std::string& name) const {
  HMVM_TRY(CheckThere(name));
  return OpenIn(Folder(name));
}

Result<std::vector<SnapshotInfo>> SnapshotStore::List() const {
  (void)Sweep().has_value();  // where there is nothing yet, or we may not, there is nothing to sweep
  std::vector<SnapshotInfo> infos;
  HMVM_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(folder_));
  for (const std::string& name : names) {
    if (CheckContainerName(name).has_value()) infos.push_back(Read(name));
  }
  NameParents(infos);
  std::ranges::sort(infos, std::greater(), &SnapshotInfo::taken_unix_ns);
  return infos;
}

Result<SnapshotInfo> SnapshotStore::Find(const std::string& name) const {
  HMVM_TRY(CheckThere(name));
  HMVM_TRY_ASSIGN(std::vector<SnapshotInfo> infos, List());
  const auto found = std::ranges::find(infos, name, &SnapshotInfo::name);
  if (found == infos.end()) return Error{ENOENT, "snapshot '" + name + "'"};
  return std::move(*found);
}

// Whose memory it is that a diff has links to.
void SnapshotStore::NameParents(std::vector<SnapshotInfo>& infos) const {
  std::map<FileIdentity, std::string> names;
  for (const SnapshotInfo& info : infos) {
    if (const auto memory = IdentityOf(Folder(info.name) + kMemory)) names[*memory] = info.name;
  }
  for (SnapshotInfo& info : infos) {
    std::vector<std::string> chain = MemoryPaths(Folder(info.name));
    chain.pop_back();
    for (const std::string& path : chain) {
      const auto parent = IdentityOf(path);
      const auto named = parent.has_value() ? names.find(*parent) : names.end();
      info.parents.push_back(named == names.end() ? "" : named->second);
    }
  }
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

// Taken out of the way first: should we be killed, what is left is a draft that nobody holds.
Result<> SnapshotStore::Remove(const std::string& name) const {
  HMVM_TRY(CheckThere(name));
  HMVM_TRY_ASSIGN(const UniqueFd store_lock, Sweep());
  const std::string doomed = folder_ + "/" + kDraftPrefix + "rm-" + name;
  (void)RemoveTree(doomed);  // of an earlier one; where it stays, rename() says so
  if (::rename(Folder(name).c_str(), doomed.c_str()) < 0) {
    return Error{errno, "remove folder '" + Folder(name) + "'"};
  }
  return RemoveTree(doomed);
}

}  // namespace hmvm
