// Memory: what would be executed, and all there is.
#include <fcntl.h>

#include "tests/attack/hostile/deeds.h"

namespace hmvm::test {
namespace {

std::string ExecuteMemoryFile() {
  const long fd = ::syscall(SYS_memfd_create, "x", 0);
  if (fd < 0) return Errno(errno);
  constexpr unsigned char kReturn[] = {0xc3};
  if (::write(static_cast<int>(fd), kReturn, 1) != 1) return Errno(errno);
  void* const at = ::mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, static_cast<int>(fd), 0);
  if (at == MAP_FAILED) return Errno(errno);
  reinterpret_cast<void (*)()>(at)();
  return "";
}

// Until nothing more is given, or the process is ended for it.
std::string ExhaustMemory() {
  constexpr size_t kStep = 64 << 20;
  for (;;) {
    void* const at = ::mmap(nullptr, kStep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return Errno(errno);
    for (size_t i = 0; i < kStep; i += kPage) static_cast<volatile char*>(at)[i] = 1;
  }
}

}  // namespace

const Deeds& MemoryDeeds() {
  using T = const HostileTargets&;
  static const Deeds deeds = {
      {"mmap-exec",
       [](T) { return MapPage(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1); }},
      {"mprotect-exec", [](T) { return Call(SYS_mprotect, AnonymousPage(), kPage, PROT_READ | PROT_EXEC); }},
      {"pkey-mprotect-exec",
       [](T) { return Call(SYS_pkey_mprotect, AnonymousPage(), kPage, PROT_READ | PROT_EXEC, -1); }},
      {"memfd-exec", [](T) { return ExecuteMemoryFile(); }},
      {"mmap-file", [](T) { return MapPage(PROT_READ | PROT_EXEC, MAP_PRIVATE, kReadOnlyDisk); }},
      {"remap-pages", [](T) { return Call(SYS_remap_file_pages, AnonymousPage(), kPage, 0, 0, 0); }},
      {"userfaultfd", [](T) { return Call(SYS_userfaultfd, O_CLOEXEC | 1); }},
      {"exhaust-memory", [](T) { return ExhaustMemory(); }},
      {"mlockall", [](T) { return Call(SYS_mlockall, 3); }},
  };
  return deeds;
}

}  // namespace hmvm::test
