#include "vmm/boot/boot_params.h"

#include <algorithm>

namespace hmvm {
namespace {

constexpr uint32_t kE820Ram = 1;
constexpr uint32_t kE820Reserved = 2;
constexpr uint64_t kPageBytes = 4096;

uint64_t LowRamEnd(const GuestMemory& memory) { return memory.regions().front().host.size(); }

// As high as the kernel can reach, so that it does not stand in the way of early allocations.
Result<uint64_t> PlaceInitrd(const GuestMemory& memory, const BootLayout& layout, uint64_t size_bytes) {
  const uint64_t limit = std::min<uint64_t>(LowRamEnd(memory), uint64_t{layout.header.initrd_addr_max} + 1);
  if (limit < layout.kernel_end || size_bytes > limit - layout.kernel_end) {
    return Error{ENOMEM, "initrd of " + std::to_string(size_bytes) + " bytes does not fit above the kernel"};
  }
  const uint64_t start = (limit - size_bytes) & ~(kPageBytes - 1);
  if (start < layout.kernel_end) {
    return Error{ENOMEM, "initrd of " + std::to_string(size_bytes) + " bytes does not fit above the kernel"};
  }
  return start;
}

}  // namespace

std::vector<boot_e820_entry> MakeE820Map(const GuestMemory& memory) {
  std::vector<boot_e820_entry> map;
  map.push_back({0, kReservedStart, kE820Ram});
  map.push_back({kReservedStart, kKernelStart - kReservedStart, kE820Reserved});
  for (const GuestMemory::Region& region : memory.booted_regions()) {
    const uint64_t start = std::max(region.start.value, kKernelStart);
    const uint64_t end = region.start.value + region.host.size();
    if (end > start) map.push_back({start, end - start, kE820Ram});
  }
  return map;
}

setup_header DefaultSetupHeader() {
  setup_header header = {};
  header.boot_flag = 0xaa55;
  header.header = 0x53726448;  // "HdrS"
  header.version = 0x020f;
  header.loadflags = LOADED_HIGH;
  header.kernel_alignment = 0x1000000;
  header.initrd_addr_max = 0x7fffffff;
  return header;
}

Result<> WriteBootParams(const GuestMemory& memory, const BootLayout& layout, const std::string& command_line,
                         std::span<const std::byte> initrd) {
  if (command_line.size() > kMaxCommandLine) {
    return Error{E2BIG, "guest command line of " + std::to_string(command_line.size()) + " bytes, at most " +
                            std::to_string(kMaxCommandLine)};
  }
  HMVM_TRY(memory.WriteBytes(kCommandLineAddress, std::as_bytes(std::span(command_line))));
  HMVM_TRY(memory.Write<char>(GuestAddress{kCommandLineAddress.value + command_line.size()}, 0));

  boot_params params = {};
  params.hdr = layout.header;
  params.hdr.type_of_loader = 0xff;  // a loader without a number of its own
  params.hdr.cmd_line_ptr = static_cast<uint32_t>(kCommandLineAddress.value);
  params.hdr.cmdline_size = static_cast<uint32_t>(command_line.size());
  if (!initrd.empty()) {
    HMVM_TRY_ASSIGN(const uint64_t start, PlaceInitrd(memory, layout, initrd.size()));
    HMVM_TRY(memory.WriteBytes(GuestAddress{start}, initrd));
    params.hdr.ramdisk_image = static_cast<uint32_t>(start);
    params.hdr.ramdisk_size = static_cast<uint32_t>(initrd.size());
  }
  const std::vector<boot_e820_entry> map = MakeE820Map(memory);
  params.e820_entries = static_cast<uint8_t>(map.size());
  std::ranges::copy(map, params.e820_table);
  return memory.Write(kBootParamsAddress, params);
}

}  // namespace hmvm
