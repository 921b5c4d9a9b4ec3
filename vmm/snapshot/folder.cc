#include "vmm/snapshot/folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/folder.h"
#include "vmm/snapshot/archive.h"
#include "vmm/snapshot/memory_copy.h"
#include "vmm/snapshot/state_file.h"

namespace hmvm {
namespace {

namespace fs = std::filesystem;

constexpr char kState[] = "machine.pb";
constexpr char kMemory[] = "memory";
constexpr char kParentMemory[] = "memory.";

Result<> Sync(const std::string& path) {
  HMVM_TRY_ASSIGN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  if (::fsync(fd.get()) < 0) return Error{errno, "sync '" + path + "'"};
  return {};
}

std::string FolderOf(const std::string& path) {
  const std::string folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

Result<> Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) < 0) return Error{errno, "rename '" + from + "' to '" + to + "'"};
  return Sync(FolderOf(to));
}

// `make` fills a folder of another name, which becomes `folder` when all of it is on the disk.
Result<> MakeFolder(const std::string& folder, const std::function<Result<>(const std::string&)>& make) {
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_empty(folder, error)) return Error{EEXIST, "'" + folder + "'"};
  const std::string partial = folder + ".partial";
  (void)RemoveTree(partial);
  if (::mkdir(partial.c_str(), 0700) < 0) return Error{errno, "make folder '" + partial + "'"};
  const auto made = [&]() -> Result<> {
    HMVM_TRY(make(partial));
    HMVM_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(partial));
    for (const std::string& name : names) HMVM_TRY(Sync(partial + "/" + name));
    HMVM_TRY(Sync(partial));
    return Rename(partial, folder);
  }();
  if (!made.has_value()) (void)RemoveTree(partial);
  return made;
}

// `write` fills a file without a name, which gets it when all of it is on the disk.
Result<> MakeFile(const std::string& path, const std::function<Result<>(int)>& write) {
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_regular_file(path, error)) {
    return Error{EINVAL, "'" + path + "' is no file that could be replaced"};
  }
  const std::string partial = path + ".partial";
  auto out = OpenFile(FolderOf(path), O_TMPFILE | O_RDWR, 0600);
  const bool named = !out.has_value() && (out.error().code == EOPNOTSUPP || out.error().code == EISDIR);
  if (named)
    out = OpenFile(partial, O_RDWR | O_CREAT | O_TRUNC, 0600);  // a file system that knows no other way
  if (!out.has_value()) return out.error();
  const auto written = [&]() -> Result<> {
    HMVM_TRY(write(out->get()));
    if (::fsync(out->get()) < 0) return Error{errno, "sync '" + path + "'"};
    if (!named) {
      // A name that is taken can't be given, but taken over.
      ::unlink(partial.c_str());
      const std::string unnamed = "/proc/self/fd/" + std::to_string(out->get());
      if (::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, partial.c_str(), AT_SYMLINK_FOLLOW) < 0)
        return Error{errno, "create '" + partial + "'"};
    }
    return Rename(partial, path);
  }();
  if (!written.has_value()) ::unlink(partial.c_str());
  return written;
}

// The memory of a chain and what its folder says of the machine.
struct Chain {
  snapshot::MachineState state;
  MemoryMap map;
  std::vector<UniqueFd> fds;
  std::vector<MemoryFile> files;
};

Result<Chain> OpenChain(const std::string& folder) {
  const std::string state_name = fs::path(folder) / kState;
  HMVM_TRY_ASSIGN(const UniqueFd state_file, OpenFile(state_name, O_RDONLY));
  HMVM_TRY_ASSIGN(snapshot::MachineState state, ReadState(state_file.get(), state_name));
  auto map = MemoryMap::FromManifest(state.memory());
  if (!map.has_value()) return Wrap("'" + state_name + "'", map.error());
  Chain chain = {.state = std::move(state), .map = std::move(*map), .fds = {}, .files = {}};
  const size_t count = chain.map.files().size();
  for (size_t i = 0; i < count; ++i) {
    const bool last = i + 1 == count;
    const std::string name = fs::path(folder) / (last ? kMemory : kParentMemory + std::to_string(i));
    HMVM_TRY_ASSIGN(UniqueFd fd, OpenFile(name, O_RDONLY));
    chain.files.push_back({name, fd.get()});
    chain.fds.push_back(std::move(fd));
  }
  return chain;
}

// Where the state says of its memory what `map` says.
std::string StateWith(snapshot::MachineState state, const MemoryMap& map) {
  *state.mutable_memory() = map.ToManifest();
  return EncodeState(state);
}

bool IsMemory(const std::string& name) { return name == kMemory || name.starts_with(kParentMemory); }

// The small files of a folder but machine.pb.
Result<std::vector<ArchiveFile>> OtherFiles(const std::string& folder) {
  HMVM_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(folder));
  std::vector<ArchiveFile> files;
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name;
    std::error_code gone;
    if (name == kState || IsMemory(name) || !fs::is_regular_file(path, gone)) continue;
    HMVM_TRY_ASSIGN(std::string content, ReadFile(path, kMaxArchiveFileBytes));
    files.push_back({name, std::move(content)});
  }
  return files;
}

Result<> WriteNewFile(const std::string& path, std::string_view content) {
  HMVM_TRY_ASSIGN(const UniqueFd fd, OpenFile(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  const auto written = WriteAll(fd.get(), content);
  if (!written.has_value()) return Error{written.error().code, "write '" + path + "'"};
  return {};
}

// A name that can lead nowhere but into the folder it is put in.
bool IsPlainName(const std::string& name) {
  return !name.empty() && name.size() < 100 && name[0] != '.' && !IsMemory(name) &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
             std::string::npos;
}

// An archive's machine.pb, which must be the one of its memory.
Result<snapshot::MachineState> StateOf(const Archive& source, const std::string& archive) {
  const auto state_file = std::ranges::find(source.files(), kState, &ArchiveFile::name);
  if (state_file == source.files().end()) return Error{EINVAL, "'" + archive + "' has no machine.pb"};
  auto state = DecodeState(state_file->content);
  if (!state.has_value()) return Wrap("machine.pb of '" + archive + "'", state.error());
  const auto map = MemoryMap::FromManifest(state->memory());
  if (!map.has_value() || map->files().back().id != source.memory().files()[0].id) {
    return Error{EINVAL, "'" + archive + "': its machine.pb is of another memory"};
  }
  return state;
}

}  // namespace

Result<> ExportSnapshotTo(const std::string& folder, int out, const std::string& name) {
  HMVM_TRY_ASSIGN(const Chain chain, OpenChain(folder));
  HMVM_TRY_ASSIGN(std::vector<ArchiveFile> files, OtherFiles(folder));
  HMVM_TRY(VerifyMemory(chain.map, chain.files));
  HMVM_TRY_ASSIGN(const MemoryRoom room, MemoryRoom::Create(chain.map));
  HMVM_TRY(MapMemory(chain.map, chain.files, room.areas()));
  HMVM_TRY_ASSIGN(const MemoryMap whole, SumMemory(chain.map, room.areas()));
  files.insert(files.begin(), {kState, StateWith(chain.state, whole)});
  return WriteArchive(out, name, files, whole, room.areas());
}

Result<> ExportSnapshot(const std::string& folder, const std::string& archive) {
  return MakeFile(archive, [&](int out) { return ExportSnapshotTo(folder, out, archive); });
}

Result<> ImportSnapshot(const std::string& archive, const std::string& folder) {
  HMVM_TRY_ASSIGN(const UniqueFd file, OpenFile(archive, O_RDONLY));
  HMVM_TRY_ASSIGN(const Archive source, Archive::Open(file.get(), archive));
  HMVM_TRY(StateOf(source, archive));
  return MakeFolder(folder, [&](const std::string& partial) -> Result<> {
    for (const ArchiveFile& small : source.files()) {
      if (!IsPlainName(small.name))
        return Error{EINVAL, "'" + archive + "' has a file with a name that is none"};
      HMVM_TRY(WriteNewFile(fs::path(partial) / small.name, small.content));
    }
    const std::string memory = fs::path(partial) / kMemory;
    HMVM_TRY_ASSIGN(const UniqueFd out, OpenFile(memory, O_RDWR | O_CREAT | O_EXCL, 0600));
    HMVM_TRY(UnpackMemory(source, out.get(), memory));
    return {};
  });
}

Result<> MergeSnapshot(const std::string& folder, const std::string& merged) {
  HMVM_TRY_ASSIGN(const Chain chain, OpenChain(folder));
  HMVM_TRY_ASSIGN(const std::vector<ArchiveFile> files, OtherFiles(folder));
  return MakeFolder(merged, [&](const std::string& partial) -> Result<> {
    const std::string memory = fs::path(partial) / kMemory;
    HMVM_TRY_ASSIGN(const UniqueFd out, OpenFile(memory, O_RDWR | O_CREAT | O_EXCL, 0600));
    HMVM_TRY_ASSIGN(const MemoryMap whole, MergeMemory(chain.map, chain.files, out.get(), memory));
    HMVM_TRY(WriteNewFile(fs::path(partial) / kState, StateWith(chain.state, whole)));
    for (const ArchiveFile& small : files)
      HMVM_TRY(WriteNewFile(fs::path(partial) / small.name, small.content));
    return {};
  });
}

Result<std::string> InspectArchive(const std::string& archive) {
  HMVM_TRY_ASSIGN(const UniqueFd file, OpenFile(archive, O_RDONLY));
  HMVM_TRY_ASSIGN(const Archive source, Archive::Open(file.get(), archive));
  HMVM_TRY_ASSIGN(const snapshot::MachineState state, StateOf(source, archive));
  nlohmann::json files = nlohmann::json::object();
  for (const ArchiveFile& small : source.files()) {
    if (small.name != kState) files[small.name] = small.content;
  }
  const nlohmann::json report = {{"machine", nlohmann::json::parse(StateReport(state))},
                                 {"files", std::move(files)}};
  return report.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace hmvm
