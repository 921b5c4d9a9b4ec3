// A hostile layer, plain or compressed, onto a tree with something in it. Beside the tree lies a file that no
// layer may change. On tmpfs where there is one, for speed.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/file.h"
#include "images/layer.h"
#include "images/remove_tree.h"

namespace {

using namespace hmvm;

struct Workshop {
  Workshop() {
    std::string pattern =
        ::access("/dev/shm", W_OK) == 0 ? "/dev/shm/layer-fuzz-XXXXXX" : "/tmp/layer-fuzz-XXXXXX";
    path = ::mkdtemp(pattern.data());
    directory = *OpenFile(path, O_RDONLY | O_DIRECTORY);
    (void)!::symlinkat("sentinel", directory.get(), "sentinel");
  }
  ~Workshop() {
    (void)RemoveContents(directory.get());
    ::rmdir(path.c_str());
  }
  std::string path;
  UniqueFd directory;
};

UniqueFd Subdirectory(int parent, const char* name) {
  ::mkdirat(parent, name, 0700);
  return UniqueFd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  static Workshop workshop;
  const int dir = workshop.directory.get();
  UniqueFd root = Subdirectory(dir, "root");
  const UniqueFd lower = Subdirectory(root.get(), "d");
  (void)!::symlinkat("/../../sentinel", root.get(), "s");
  (void)!::symlinkat("d", root.get(), "l");
  TreeWriter tree(std::move(root), Subdirectory(dir, "trash"));

  const UniqueFd layer(::memfd_create("layer", MFD_CLOEXEC));
  (void)WriteAll(layer.get(), std::as_bytes(std::span(data, size_bytes)));
  const TreeLimits limits{.max_bytes = 8 << 20, .max_entries = 1000};
  TreeUsage usage;
  (void)ApplyLayer(layer.get(), Compression::kDetect, tree, limits, usage);
  (void)tree.Finish();

  char target[16];
  if (::readlinkat(dir, "sentinel", target, sizeof(target)) != 8) __builtin_trap();
  if (!RemoveTree(dir, "root").has_value() || !RemoveTree(dir, "trash").has_value()) __builtin_trap();
  if (::faccessat(dir, "root", F_OK, 0) == 0) __builtin_trap();
  return 0;
}
