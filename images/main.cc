// hmvm-import STORE PATH NAME: what `hmvm image import` becomes. Prints the image's id. Exit status: 0, or
// 125 where it could not be imported.
#include <unistd.h>

#include "base/escape.h"
#include "base/file.h"
#include "images/store.h"

namespace hmvm {
namespace {

constexpr int kFailed = 125;  // as all commands of hmvm

Result<> Import(const std::string& store_folder, const std::string& path, const std::string& name) {
  HMVM_TRY_ASSIGN(ImageStore store, ImageStore::Open(store_folder));
  HMVM_TRY_ASSIGN(const Image image, store.Import(path, name));
  if (auto written = WriteAll(STDOUT_FILENO, image.id + "\n"); !written.has_value()) {
    return Error{written.error().code, "write to standard output"};
  }
  return {};
}

}  // namespace
}  // namespace hmvm

int main(int argc, char** argv) {
  const auto imported = argc == 4 ? hmvm::Import(argv[1], argv[2], argv[3])
                                  : hmvm::Error{0, "usage: hmvm-import STORE PATH NAME"};
  if (imported.has_value()) return 0;
  (void)hmvm::WriteAll(STDERR_FILENO, "hmvm: " + hmvm::OneLine(imported.error().Message()) + "\n");
  return hmvm::kFailed;
}
