// The templates of one installation on disk: <root>/templates/<id>/ with machine.pb and memory, the snapshot,
// template.json, what it is of, and `whole`, which memory was found undamaged. A template is a cache of what
// a cold boot gives: it may be removed at any time, also under machines that run from it, as they have its
// files open.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/template/key.h"

namespace hmvm {

// A template's snapshot, open for reading.
struct TemplateFiles {
  UniqueFd machine;
  UniqueFd memory;
  UniqueFd working_set;  // none: not known yet
};

struct TemplateInfo {
  std::string id;
  TemplateMachine machine;
  int64_t built_unix_ns = 0;
  int64_t used_unix_ns = 0;
  uint64_t disk_bytes = 0;  // taken by its files
  bool stale = false;       // a part of it has changed or is missing: no run will use it any more
};

class TemplateStore {
 public:
  // More are not kept: the one whose last use is the longest ago goes for a new one.
  static constexpr size_t kMaxTemplates = 16;

  explicit TemplateStore(std::string folder) : folder_(std::move(folder)) {}

  // Nothing when there is no such template, or not all of it. Notes the use.
  Result<std::optional<TemplateFiles>> Open(const TemplateKey& key) const;

  // Whether `memory`, its open file, has been read and found whole in this boot of the host, and was not
  // written to since; and notes that it was found whole.
  bool IsKnownWhole(const std::string& id, int memory) const;
  void NoteWhole(const std::string& id, int memory) const;

  // A place for a template to be built in, and the lock that only one process holds.
  class Draft {
   public:
    Draft(Draft&& other) noexcept;
    Draft& operator=(Draft&&) = delete;
    // Removes what is there, unless it was committed.
    ~Draft();

    // Empty, open for writing and reading.
    const UniqueFd& machine() const { return machine_; }
    const UniqueFd& memory() const { return memory_; }
    // What the machine that is booted for it is called among the host's: as no other, so that builders of
    // the same template below another root have a cgroup, and the guard's record of it, of their own.
    std::string CellName() const { return CellNameOf(name_); }

    // Makes it a template. Stale ones go.
    Result<> Commit();

   private:
    friend class TemplateStore;
    Draft(const TemplateStore& store, TemplateKey key, std::string name, UniqueFd lock);

    const TemplateStore* store_;  // none: moved away or committed
    TemplateKey key_;
    std::string name_;
    UniqueFd lock_;
    UniqueFd machine_;
    UniqueFd memory_;
  };
  // EAGAIN: somebody else is building one. What killed builders left goes first.
  Result<Draft> Begin(const TemplateKey& key) const;

  // Removes what killed builders left, of their machines, too. Nothing while somebody is building one.
  void Sweep() const;

  // Which pages machines of the template write to. It may have gone meanwhile: then nothing happens.
  void KeepWorkingSet(const std::string& id, const std::string& working_set) const;

  // The one used last comes first.
  Result<std::vector<TemplateInfo>> List() const;
  // ENOENT: there is none of this id.
  Result<> Remove(const std::string& id) const;

 private:
  std::string Folder(const std::string& id) const { return folder_ + "/" + id; }
  std::string DraftFolder(const std::string& name) const;
  static std::string CellNameOf(const std::string& draft) { return "template-" + draft; }
  std::vector<std::string> Drafts() const;  // their names
  // EAGAIN: another process has it.
  Result<UniqueFd> Lock() const;
  // With the lock held.
  void RemoveDrafts() const;
  Result<TemplateInfo> Read(const std::string& id) const;
  void MakeRoom(const std::string& newest) const;

  std::string folder_;
};

}  // namespace hmvm
