#include "runtime/template/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/file.h"
#include "base/folder.h"
#include "runtime/container/process_identity.h"
#include "runtime/container/record.h"
#include "security/cell.h"

namespace hmvm {
namespace {

using nlohmann::ordered_json;

constexpr char kMachine[] = "/machine.pb";
constexpr char kMemory[] = "/memory";
constexpr char kWorkingSet[] = "/working_set";
constexpr char kInfo[] = "/template.json";
constexpr char kWhole[] = "/whole";
constexpr char kDraft[] = ".draft-";  // and its name
constexpr size_t kNameDigits = 12;    // of a draft, by chance
constexpr size_t kInfoLimitBytes = 64 << 10;

bool IsTemplateId(const std::string& name) {
  return name.size() == 32 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

int64_t UnixNs(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

std::string Encode(const TemplateKey& key, int64_t built_unix_ns) {
  const TemplateMachine& machine = key.machine;
  return ordered_json{{"vmm", machine.vmm_program},
                      {"kernel", machine.kernel},
                      {"initramfs", machine.initramfs},
                      {"platform", machine.platform},
                      {"cpus", machine.cpus},
                      {"memory_mib", machine.memory_mib},
                      {"grows", machine.grows},
                      {"built_unix_ns", built_unix_ns},
                      {"key", key.text}}
             .dump(2, ' ', false, ordered_json::error_handler_t::replace) +
         "\n";
}

Result<TemplateInfo> Decode(const std::string& text) {
  const auto json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  TemplateInfo info;
  // An exception where it is no whole number: of others, get() would make one, or what is not defined.
  const auto number = [&json](const char* key) { return json.at(key).get_ref<const uint64_t&>(); };
  try {
    info.machine = {.vmm_program = json.at("vmm").get<std::string>(),
                    .kernel = json.at("kernel").get<std::string>(),
                    .initramfs = json.at("initramfs").get<std::string>(),
                    .platform = json.at("platform").get<std::string>(),
                    .cpus = static_cast<uint32_t>(number("cpus")),
                    .memory_mib = static_cast<uint32_t>(number("memory_mib")),
                    .grows = json.at("grows").get<bool>()};
    info.built_unix_ns = static_cast<int64_t>(number("built_unix_ns"));
  } catch (const nlohmann::json::exception&) {
    return Error{EINVAL, "template.json"};
  }
  return info;
}

// Another one after every write, and after a crash of the host, which may have torn the file. Empty: none.
std::string VersionOf(int file) {
  struct stat status = {};
  if (::fstat(file, &status) < 0 || BootId().empty()) return "";
  return BootId() + " device " + std::to_string(status.st_dev) + " inode " + std::to_string(status.st_ino) +
         " size " + std::to_string(status.st_size) + " modified " + std::to_string(UnixNs(status.st_mtim)) +
         " changed " + std::to_string(UnixNs(status.st_ctim)) + "\n";
}

}  // namespace

Result<std::optional<TemplateFiles>> TemplateStore::Open(const TemplateKey& key) const {
  const std::string folder = Folder(key.id);
  auto machine = OpenFile(folder + kMachine, O_RDONLY);
  auto memory = OpenFile(folder + kMemory, O_RDONLY);
  for (const auto* file : {&machine, &memory}) {
    if (file->has_value()) continue;
    // Where a part is missing, there is none: the next one built takes its place.
    const int code = file->error().code;
    if (code == ENOENT || code == ENOTDIR) return std::optional<TemplateFiles>();
    return file->error();
  }
  ::utimensat(AT_FDCWD, folder.c_str(), nullptr, 0);  // failing, it goes earlier than it should: no harm
  auto working_set = OpenFile(folder + kWorkingSet, O_RDONLY);
  return TemplateFiles{.machine = std::move(*machine),
                       .memory = std::move(*memory),
                       .working_set = std::move(working_set).value_or(UniqueFd())};
}

void TemplateStore::KeepWorkingSet(const std::string& id, const std::string& working_set) const {
  (void)WriteFileAtomic(Folder(id) + kWorkingSet, working_set, 0600).has_value();
}

bool TemplateStore::IsKnownWhole(const std::string& id, int memory) const {
  const std::string version = VersionOf(memory);
  const auto noted = ReadFile(Folder(id) + kWhole, kInfoLimitBytes);
  return !version.empty() && noted.has_value() && *noted == version;
}

void TemplateStore::NoteWhole(const std::string& id, int memory) const {
  if (IsKnownWhole(id, memory)) return;
  // Failing, it is read again.
  (void)WriteFileAtomic(Folder(id) + kWhole, VersionOf(memory), 0600, Outlives::kThisProcess);
}

std::string TemplateStore::DraftFolder(const std::string& name) const { return Folder(kDraft + name); }

std::vector<std::string> TemplateStore::Drafts() const {
  std::vector<std::string> drafts;
  for (const std::string& name : NamesIn(folder_).value_or(std::vector<std::string>())) {
    if (name.starts_with(kDraft)) drafts.push_back(name.substr(std::strlen(kDraft)));
  }
  return drafts;
}

Result<UniqueFd> TemplateStore::Lock() const {
  HMVM_TRY_ASSIGN(UniqueFd lock, OpenFile(folder_, O_RDONLY | O_DIRECTORY));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
    return Error{errno == EWOULDBLOCK ? EAGAIN : errno, "lock '" + folder_ + "'"};
  }
  return lock;
}

void TemplateStore::RemoveDrafts() const {
  for (const std::string& draft : Drafts()) {
    constexpr std::chrono::seconds kEnding{5};  // of the VMM; the draft is the only sign of it
    RemoveCell(CellNameOf(draft), kEnding);
    (void)RemoveTree(DraftFolder(draft));
  }
}

// Without a draft the lock stays free: who begins to build at this moment would be refused.
void TemplateStore::Sweep() const {
  if (Drafts().empty()) return;
  if (const auto lock = Lock(); lock.has_value()) RemoveDrafts();
}

Result<TemplateStore::Draft> TemplateStore::Begin(const TemplateKey& key) const {
  HMVM_TRY(MakePrivateFolder(folder_));  // a guest's memory is nobody else's to look at
  HMVM_TRY_ASSIGN(UniqueFd lock, Lock());
  RemoveDrafts();
  Draft draft(*this, key, NewContainerId().substr(0, kNameDigits), std::move(lock));
  const std::string folder = DraftFolder(draft.name_);
  HMVM_TRY(MakePrivateFolder(folder));
  HMVM_TRY_ASSIGN(draft.machine_, OpenFile(folder + kMachine, O_RDWR | O_CREAT | O_EXCL, 0600));
  HMVM_TRY_ASSIGN(draft.memory_, OpenFile(folder + kMemory, O_RDWR | O_CREAT | O_EXCL, 0600));
  return draft;
}

TemplateStore::Draft::Draft(const TemplateStore& store, TemplateKey key, std::string name, UniqueFd lock)
    : store_(&store), key_(std::move(key)), name_(std::move(name)), lock_(std::move(lock)) {}

TemplateStore::Draft::Draft(Draft&& other) noexcept
    : store_(std::exchange(other.store_, nullptr)),
      key_(std::move(other.key_)),
      name_(std::move(other.name_)),
      lock_(std::move(other.lock_)),
      machine_(std::move(other.machine_)),
      memory_(std::move(other.memory_)) {}

TemplateStore::Draft::~Draft() {
  if (store_ != nullptr)
    (void)RemoveTree(store_->DraftFolder(name_));  // what stays goes with the next Begin()
}

// Not fsynced: a template that a crash of the host has torn is refused by its checksums, and built again.
Result<> TemplateStore::Draft::Commit() {
  HMVM_TRY(WriteFileAtomic(store_->DraftFolder(name_) + kInfo, Encode(key_, NowUnixNs()), 0600));
  const std::string folder = store_->Folder(key_.id);
  (void)RemoveTree(folder);  // where it stays, rename() says so
  if (::rename(store_->DraftFolder(name_).c_str(), folder.c_str()) < 0)
    return Error{errno, "create folder '" + folder + "'"};
  std::exchange(store_, nullptr)->MakeRoom(key_.id);
  return {};
}

void TemplateStore::MakeRoom(const std::string& newest) const {
  const auto infos = List();
  if (!infos.has_value()) return;
  size_t kept = 1;  // the newest, wherever it is in the order
  for (const TemplateInfo& info : *infos) {
    if (info.id == newest) continue;
    if (!info.stale && kept < kMaxTemplates) {
      ++kept;
    } else {
      (void)RemoveTree(Folder(info.id));  // what stays goes with the next
    }
  }
}

Result<std::vector<TemplateInfo>> TemplateStore::List() const {
  HMVM_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(folder_));
  std::vector<TemplateInfo> infos;
  for (const std::string& name : names) {
    if (!IsTemplateId(name)) continue;
    auto info = Read(name);
    if (info.has_value()) infos.push_back(std::move(*info));
  }
  std::ranges::sort(infos, std::greater(), &TemplateInfo::used_unix_ns);
  return infos;
}

// One that can't be read, or lacks a part, is told as stale, for MakeRoom and people to remove.
Result<TemplateInfo> TemplateStore::Read(const std::string& id) const {
  const std::string folder = Folder(id);
  struct stat status = {};
  if (::stat(folder.c_str(), &status) < 0) return Error{errno, "look at '" + folder + "'"};
  TemplateInfo info;
  if (const auto text = ReadFile(folder + kInfo, kInfoLimitBytes); text.has_value()) {
    if (auto decoded = Decode(*text); decoded.has_value()) info = std::move(*decoded);
  }
  info.id = id;
  info.used_unix_ns = UnixNs(status.st_mtim);
  const auto key = MakeTemplateKey(info.machine);
  info.stale = !key.has_value() || key->id != id;
  for (const char* name : {kMachine, kMemory, kInfo}) {
    if (::stat((folder + name).c_str(), &status) == 0) {
      info.disk_bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    } else {
      info.stale = true;
    }
  }
  return info;
}

Result<> TemplateStore::Remove(const std::string& id) const {
  if (!IsTemplateId(id) || ::access(Folder(id).c_str(), F_OK) < 0)
    return Error{ENOENT, "template '" + id + "'"};
  return RemoveTree(Folder(id));
}

}  // namespace hmvm
