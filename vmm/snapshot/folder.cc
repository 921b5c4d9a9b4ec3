#include "vmm/snapshot/folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/file.h"
#include "vmm/snapshot/archive.h"
#include "vmm/snapshot/memory_copy.h"
#include "vmm/snapshot/state_file.h"

namespace hmvm {
namespace {

namespace fs = std::filesystem;

constexpr char kState[] = "machine.pb";
constexpr char kMemory[] = "memory";

Result<> Sync(const std::string& path) {
  HMVM_TRY_ASSIGN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  if (::fsync(fd.get()) < 0) return Error{errno, "sync '" + path + "'"};
  return {};
}

Result<> Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) < 0) return Error{errno, "rename '" + from + "' to '" + to + "'"};
  return Sync(fs::path(to).parent_path().empty() ? "." : fs::path(to).parent_path().string());
}

// `make` fills a folder of another name, which becomes `folder` when all of it is on the disk.
Result<> MakeFolder(const std::string& folder, const std::function<Result<>(const std::string&)>& make) {
  std::error_code error;
  if (fs::exists(folder, error)) return Error{EEXIST, "'" + folder + "'"};
  const std::string partial = folder + ".partial";
  fs::remove_all(partial, error);
  if (::mkdir(partial.c_str(), 0700) < 0) return Error{errno, "make folder '" + partial + "'"};
  const auto made = [&]() -> Result<> {
    HMVM_TRY(make(partial));
    for (const fs::directory_entry& file : fs::directory_iterator(partial, error))
      HMVM_TRY(Sync(file.path()));
    HMVM_TRY(Sync(partial));
    return Rename(partial, folder);
  }();
  if (!made.has_value()) fs::remove_all(partial, error);
  return made;
}

// The memory of a chain and what its last folder says of the machine.
struct Chain {
  snapshot::MachineState state;
  MemoryMap map;
  std::vector<UniqueFd> fds;
  std::vector<MemoryFile> files;
};

Result<Chain> OpenChain(const std::vector<std::string>& folders) {
  if (folders.empty()) return Error{EINVAL, "no snapshot"};
  const std::string state_name = fs::path(folders.back()) / kState;
  HMVM_TRY_ASSIGN(const UniqueFd state_file, OpenFile(state_name, O_RDONLY));
  HMVM_TRY_ASSIGN(snapshot::MachineState state, ReadState(state_file.get(), state_name));
  auto map = MemoryMap::FromManifest(state.memory());
  if (!map.has_value()) return Wrap("'" + state_name + "'", map.error());
  Chain chain = {.state = std::move(state), .map = std::move(*map), .fds = {}, .files = {}};
  for (const std::string& folder : folders) {
    const std::string name = fs::path(folder) / kMemory;
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

// The small files of a folder but machine.pb.
Result<std::vector<ArchiveFile>> OtherFiles(const std::string& folder) {
  std::vector<ArchiveFile> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (name == kState || name == kMemory || !entry.is_regular_file(error)) continue;
    HMVM_TRY_ASSIGN(std::string content, ReadFile(entry.path(), kMaxArchiveFileBytes));
    files.push_back({name, std::move(content)});
  }
  if (error) return Error{error.value(), "read folder '" + folder + "'"};
  std::ranges::sort(files, {}, &ArchiveFile::name);
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
  return !name.empty() && name.size() < 100 && name[0] != '.' && name != kMemory &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
             std::string::npos;
}

}  // namespace

Result<> ExportSnapshot(const std::vector<std::string>& folders, const std::string& archive) {
  HMVM_TRY_ASSIGN(const Chain chain, OpenChain(folders));
  HMVM_TRY_ASSIGN(std::vector<ArchiveFile> files, OtherFiles(folders.back()));
  const std::string partial = archive + ".partial";
  HMVM_TRY_ASSIGN(const UniqueFd out, OpenFile(partial, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  const auto written = [&]() -> Result<> {
    HMVM_TRY(VerifyMemory(chain.map, chain.files));
    HMVM_TRY_ASSIGN(const MemoryRoom room, MemoryRoom::Create(chain.map));
    HMVM_TRY(MapMemory(chain.map, chain.files, room.areas()));
    HMVM_TRY_ASSIGN(const MemoryMap whole, SumMemory(chain.map, room.areas()));
    files.insert(files.begin(), {kState, StateWith(chain.state, whole)});
    HMVM_TRY(WriteArchive(out.get(), partial, files, whole, room.areas()));
    HMVM_TRY(Sync(partial));
    return Rename(partial, archive);
  }();
  if (!written.has_value()) ::unlink(partial.c_str());
  return written;
}

Result<> ImportSnapshot(const std::string& archive, const std::string& folder) {
  HMVM_TRY_ASSIGN(const UniqueFd file, OpenFile(archive, O_RDONLY));
  HMVM_TRY_ASSIGN(const Archive source, Archive::Open(file.get(), archive));
  const auto state_file = std::ranges::find(source.files(), kState, &ArchiveFile::name);
  if (state_file == source.files().end()) return Error{EINVAL, "'" + archive + "' has no machine.pb"};
  const auto state = DecodeState(state_file->content);
  if (!state.has_value()) return Wrap("machine.pb of '" + archive + "'", state.error());
  const auto map = MemoryMap::FromManifest(state->memory());
  if (!map.has_value() || map->files().back().id != source.memory().files()[0].id) {
    return Error{EINVAL, "'" + archive + "': its machine.pb is of another memory"};
  }
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

Result<> MergeSnapshots(const std::vector<std::string>& folders, const std::string& folder) {
  HMVM_TRY_ASSIGN(const Chain chain, OpenChain(folders));
  HMVM_TRY_ASSIGN(const std::vector<ArchiveFile> files, OtherFiles(folders.back()));
  return MakeFolder(folder, [&](const std::string& partial) -> Result<> {
    const std::string memory = fs::path(partial) / kMemory;
    HMVM_TRY_ASSIGN(const UniqueFd out, OpenFile(memory, O_RDWR | O_CREAT | O_EXCL, 0600));
    HMVM_TRY_ASSIGN(const MemoryMap whole, MergeMemory(chain.map, chain.files, out.get(), memory));
    HMVM_TRY(WriteNewFile(fs::path(partial) / kState, StateWith(chain.state, whole)));
    for (const ArchiveFile& small : files)
      HMVM_TRY(WriteNewFile(fs::path(partial) / small.name, small.content));
    return {};
  });
}

}  // namespace hmvm
