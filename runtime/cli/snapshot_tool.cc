#include "runtime/cli/snapshot_tool.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "runtime/supervisor/machine.h"

namespace hmvm {
namespace {

// More than an archive's small files can be, as JSON.
constexpr size_t kReportLimitBytes = 64 << 20;

Result<UniqueFd> MakeUnnamed(const char* name) {
  UniqueFd file(::memfd_create(name, MFD_CLOEXEC));
  if (!file.valid()) return Error{errno, "memfd_create"};
  return file;
}

Result<std::string> ContentOf(const UniqueFd& file) {
  return ReadFile("/proc/self/fd/" + std::to_string(file.get()), kReportLimitBytes);
}

}  // namespace

Result<> SnapshotTool::Export(const std::string& folder, const std::string& archive) const {
  return Run({"export", archive, folder}, STDOUT_FILENO);
}

Result<> SnapshotTool::Import(const std::string& archive, const std::string& folder) const {
  return Run({"import", archive, folder}, STDERR_FILENO);
}

Result<> SnapshotTool::Merge(const std::string& folder, const std::string& merged) const {
  return Run({"merge", merged, folder}, STDERR_FILENO);
}

Result<std::string> SnapshotTool::Inspect(const std::string& archive) const {
  HMVM_TRY_ASSIGN(const UniqueFd report, MakeUnnamed("report"));
  HMVM_TRY(Run({"inspect", archive}, report.get()));
  return ContentOf(report);
}

Result<> SnapshotTool::Run(const std::vector<std::string>& arguments, int out) const {
  HMVM_TRY_ASSIGN(const UniqueFd null, OpenFile("/dev/null", O_RDONLY));
  HMVM_TRY_ASSIGN(const UniqueFd log, MakeUnnamed("log"));
  Process::Options options{
      .arguments = arguments, .fds = {{null.get(), 0}, {out, 1}, {log.get(), 2}}, .die_with_parent = true};
  options.arguments.insert(options.arguments.begin(), program_);
  HMVM_TRY_ASSIGN(Process process, Process::Start(options));
  HMVM_TRY_ASSIGN(const int status, process.Wait());
  if (status == 0) return {};
  HMVM_TRY_ASSIGN(const std::string words, ContentOf(log));
  if (WIFEXITED(status) && !words.empty()) return Error{0, std::string(LastLogMessage(words))};
  return Error{0, "'" + program_ + "' ended with wait status " + std::to_string(status)};
}

}  // namespace hmvm
