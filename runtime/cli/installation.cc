#include "runtime/cli/installation.h"

#include <filesystem>
#include <system_error>

namespace hmvm {

Result<Installation> Installation::Find() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return Error{error.value(), "find this program through '/proc/self/exe'"};
  const std::filesystem::path prefix = program.parent_path().parent_path();
  return Installation{.vmm_program = prefix / "libexec/hmvm/hmvm-vmm",
                      .import_program = prefix / "libexec/hmvm/hmvm-import",
                      .snapshot_program = prefix / "libexec/hmvm/hmvm-snapshot",
                      .kernel = prefix / "share/hmvm/vmlinux",
                      .initramfs = prefix / "share/hmvm/initramfs.cpio"};
}

}  // namespace hmvm
