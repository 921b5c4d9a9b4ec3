// hmvm-snapshot: snapshots from one form into another, for whoever keeps them. No machine is needed.
#include <string>
#include <vector>

#include "base/escape.h"
#include "base/log.h"
#include "vmm/snapshot/folder.h"

namespace hmvm {
namespace {

constexpr char kUsage[] =
    "usage: hmvm-snapshot export ARCHIVE FOLDER...   one file of the last folder's snapshot\n"
    "       hmvm-snapshot import ARCHIVE FOLDER      a folder from such a file\n"
    "       hmvm-snapshot merge NEW_FOLDER FOLDER... one full snapshot in place of a chain\n"
    "FOLDER... is a full snapshot and the diffs upon it, in this order";

Result<> Run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 3) return Error{0, kUsage};
  const std::string& target = arguments[1];
  const std::vector<std::string> folders(arguments.begin() + 2, arguments.end());
  if (arguments[0] == "export") return ExportSnapshot(folders, target);
  if (arguments[0] == "import" && folders.size() == 1) return ImportSnapshot(target, folders[0]);
  if (arguments[0] == "merge") return MergeSnapshots(folders, target);
  return Error{0, kUsage};
}

}  // namespace
}  // namespace hmvm

int main(int argc, char** argv) {
  hmvm::InitLog(argv[0]);
  const auto done = hmvm::Run({argv + 1, argv + argc});
  if (done.has_value()) return 0;
  LOG(ERROR) << hmvm::Escape(done.error().Message(), 1024);
  return 1;
}
