#include "tests/guest/isolation/pages.h"

#include <cstdio>
#include <cstring>

#include "tests/guest/isolation/program.h"

namespace isolation {
namespace {

// docs/ring3.md, "Address map", and the kernel's Documentation/arch/x86/x86_64/mm.rst
constexpr uint64_t kSlotBytes = uint64_t{1} << 39;
constexpr uint64_t kMonitor = 0xffff808000000000;
constexpr uint64_t kMonitorBytes = 0x20000000;
constexpr uint64_t kMonitorMapped = 0x800000;  // in any view, with as little memory as this test's guest has
constexpr uint64_t kMonitorLast = kMonitor + 0x1fe00000;  // ring 0's own: all of it is looked at
constexpr uint64_t kVmalloc = 0xffffc90000000000;
constexpr uint64_t kVmemmap = 0xffffea0000000000;
constexpr uint64_t kCpuEntryArea = 0xfffffe0000000000;
constexpr uint64_t kModules = 0xffffffffa0000000;
constexpr uint64_t kFixmapEnd = 0xffffffffff600000;  // the vsyscall page, then holes

enum class Access { kRead, kWrite, kExecute };
constexpr Access kAccesses[] = {Access::kRead, Access::kWrite, Access::kExecute};

int Try(Access access, uint64_t address) {
  ++tried;
  return SignalOf([access, address] {
    switch (access) {
      case Access::kRead:
        static_cast<void>(*reinterpret_cast<volatile char*>(address));
        break;
      case Access::kWrite:
        *reinterpret_cast<volatile char*>(address) = 1;
        break;
      case Access::kExecute:
        reinterpret_cast<void (*)()>(address)();
        break;
    }
  });
}

void ExpectNoAccess(const char* what, uint64_t address) {
  for (const Access access : kAccesses) {
    const int signal = Try(access, address);
    if (signal != SIGSEGV) {
      FAIL("%s: access %d at 0x%lx: signal %d", what, static_cast<int>(access), address, signal);
    }
  }
}
void ExpectNoAccess(const char* what, uint64_t start, uint64_t bytes, uint64_t stride) {
  for (uint64_t offset = 0; offset < bytes; offset += stride) ExpectNoAccess(what, start + offset);
}
void ExpectNoAccessAtRandom(const char* what, uint64_t start, uint64_t bytes, int count) {
  Random random(start);
  for (int i = 0; i < count; ++i) ExpectNoAccess(what, start + random.Next() % bytes);
}

// From /proc/iomem: the end of the last resource of that name, guest-physical.
uint64_t EndOf(const char* name) {
  std::FILE* const file = std::fopen("/proc/iomem", "re");
  uint64_t end = 0;
  char line[128];
  while (file != nullptr && std::fgets(line, sizeof(line), file) != nullptr) {
    unsigned long first;
    unsigned long last;
    if (std::strstr(line, name) != nullptr && std::sscanf(line, " %lx-%lx", &first, &last) == 2)
      end = last + 1;
  }
  if (file != nullptr) std::fclose(file);
  if (end == 0) FAIL("no '%s' in /proc/iomem", name);
  return end;
}

}  // namespace

std::vector<uint64_t> CheckMonitor() {
  std::vector<uint64_t> gates;
  const auto check = [&gates](uint64_t page) {
    if (Try(Access::kRead, page) == SIGSEGV) {
      ExpectNoAccess("monitor", page);
    } else {
      gates.push_back(page);
      if (Try(Access::kWrite, page) != SIGSEGV) FAIL("gate page 0x%lx can be written", page);
    }
  };
  for (uint64_t page = kMonitor; page < kMonitor + kMonitorMapped; page += kPage) check(page);
  for (uint64_t page = kMonitor + kMonitorMapped; page < kMonitorLast; page += 61 * kPage) check(page);
  for (uint64_t page = kMonitorLast; page < kMonitor + kMonitorBytes; page += kPage) check(page);
  // One a vCPU at most, and all the same: nothing of a vCPU's is in it, and nothing that could be an address.
  if (gates.empty() || gates.size() > 8) FAIL("%zu gate pages", gates.size());
  for (const uint64_t page : gates) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(page);
    if (std::memcmp(bytes, reinterpret_cast<const void*>(gates[0]), kPage) != 0)
      FAIL("gates differ: 0x%lx", page);
    for (uint64_t i = 0; i + sizeof(uint64_t) <= kPage; ++i) {
      uint64_t word;
      std::memcpy(&word, bytes + i, sizeof(word));
      if (word >= kUpperHalf) FAIL("an address in the gate page at 0x%lx: 0x%lx", page + i, word);
    }
  }
  return gates;
}

void CheckKernel() {
  const uint64_t ram = EndOf("System RAM");
  ExpectNoAccess("monitor's direct map", kMonitorDirectMap, ram, 64 * kPage);
  ExpectNoAccess("direct map", kKernelDirectMap, ram, kPage);
  ExpectNoAccess("kernel image", kKernelImage, EndOf("Kernel bss"), kPage);
  ExpectNoAccess("vmemmap", kVmemmap, ram / kPage * 64, kPage);
  ExpectNoAccess("vmalloc", kVmalloc, 256 * kPage, kPage);
  ExpectNoAccess("cpu entry area", kCpuEntryArea, 128 * kPage, kPage);
  ExpectNoAccess("modules", kModules, 64 * kPage, kPage);
  ExpectNoAccess("fixmap", kFixmapEnd - 1536 * kPage, 1536 * kPage, kPage);
  // The vsyscall page answers calls to its three functions and nothing else.
  for (const Access access : {Access::kRead, Access::kWrite}) {
    if (Try(access, kFixmapEnd) != SIGSEGV) FAIL("vsyscall page: access %d", static_cast<int>(access));
  }
  ExpectNoAccess("end", kFixmapEnd + kPage, 0 - (kFixmapEnd + kPage), 64 * kPage);
  ExpectNoAccess("end", UINT64_MAX);

  for (uint64_t slot = 256; slot < 512; ++slot) {
    if (slot == 257) continue;
    const uint64_t start = kUpperHalf + (slot - 256) * kSlotBytes;
    ExpectNoAccess("slot", start);
    ExpectNoAccessAtRandom("slot", start, kSlotBytes - kPage, 6);
  }
  ExpectNoAccessAtRandom("vmalloc", kVmalloc, 1 << 30, 300);
  ExpectNoAccess("not canonical", kNotCanonical);
  ExpectNoAccess("the end of the lower half", uint64_t{1} << 47);
}

}  // namespace isolation
