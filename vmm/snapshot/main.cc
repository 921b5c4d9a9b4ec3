// hmvm-snapshot: snapshots from one form into another, for whoever keeps them. No machine is needed.
#include <signal.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/escape.h"
#include "base/file.h"
#include "base/log.h"
#include "vmm/snapshot/folder.h"

namespace hmvm {
namespace {

constexpr char kUsage[] =
    "usage: hmvm-snapshot export ARCHIVE FOLDER   one file of a snapshot; -: to standard output\n"
    "       hmvm-snapshot import ARCHIVE FOLDER   a folder from such a file\n"
    "       hmvm-snapshot merge NEW_FOLDER FOLDER one full snapshot in place of a chain\n"
    "       hmvm-snapshot inspect ARCHIVE         what is in such a file, as JSON";

Result<> Run(const std::vector<std::string>& arguments) {
  const std::string command = arguments.empty() ? "" : arguments[0];
  if (command == "inspect" && arguments.size() == 2) {
    HMVM_TRY_ASSIGN(const std::string report, InspectArchive(arguments[1]));
    return WriteAll(STDOUT_FILENO, report);
  }
  if (arguments.size() != 3) return Error{0, kUsage};
  const std::string& target = arguments[1];
  const std::string& folder = arguments[2];
  if (command == "export" && target == "-") return ExportSnapshotTo(folder, STDOUT_FILENO, "standard output");
  if (command == "export") return ExportSnapshot(folder, target);
  if (command == "import") return ImportSnapshot(target, folder);
  if (command == "merge") return MergeSnapshot(folder, target);
  return Error{0, kUsage};
}

}  // namespace
}  // namespace hmvm

int main(int argc, char** argv) {
  hmvm::InitLog(argv[0]);
  ::signal(SIGPIPE, SIG_IGN);  // a reader that has gone is an error with a name
  const auto done = hmvm::Run({argv + 1, argv + argc});
  if (done.has_value()) return 0;
  LOG(ERROR) << hmvm::Escape(done.error().Message(), 1024);
  return 1;
}
