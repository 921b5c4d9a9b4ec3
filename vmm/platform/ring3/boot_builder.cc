#include "vmm/platform/ring3/boot_builder.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "vmm/boot/bzimage.h"
#include "vmm/boot/bzimage_payload.h"
#include "vmm/boot/elf.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kLevel1Reach = 2 * kMiB;
constexpr uint64_t kLevel2Reach = 1024 * kMiB;
// What a kernel takes beside its image before its own allocator complains. Found by trying; a friendlier
// message than the guest's silence.
constexpr uint64_t kLeastFree = 16 * kMiB;

// Guest kernel and programs share ring 3, where most mitigations have no effect; patching lock prefixes away
// costs more boot time than it gains; there is no serial port's interrupt, so its driver need not look for
// it. A fault costs as much as some hundred further pages of it, so faults on files map many.
// The machine's line follows and may say otherwise.
constexpr char kCommandLine[] =
    "mitigations=off noreplace-smp 8250.nr_uarts=0 fault_around_bytes=2M cow_around_bytes=64K "
    "anon_around_bytes=32K ";

// For our own kernel (its patch 0008): a function to call for a hypercall, one a vCPU.
std::string HypercallEntry(const Window& window) {
  char argument[64];
  std::snprintf(argument, sizeof(argument), "xen_hypercall_entry=0x%" PRIx64 ",0x%" PRIx64 " ",
                window.header(0).hypercall_call, kBlockBytes);
  return argument;
}

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

// Hands out pages one after the other behind the kernel.
class Pages {
 public:
  Pages(const GuestMemory& memory, uint64_t start) : memory_(memory), next_(RoundUp(start, kPageSize)) {}

  uint64_t next() const { return next_; }
  Result<uint64_t> Take(uint64_t bytes, const char* what) {
    const uint64_t size = RoundUp(bytes, kPageSize);
    if (!memory_.Slice(GuestAddress{next_}, size).has_value()) {
      return Error{ENOMEM, "guest memory of " + std::to_string(memory_.size_bytes() / kMiB) +
                               " MiB has no room for the " + what + ": give the guest more memory"};
    }
    const uint64_t at = next_;
    next_ += size;
    return at;
  }

 private:
  const GuestMemory& memory_;
  uint64_t next_;
};

Result<uint64_t> RequiredNote(const ElfImage& image, uint32_t type, const char* name) {
  const auto value = image.NumberNote("Xen", type);
  if (!value.has_value()) {
    return Error{0, std::string("the kernel has no Xen note ") + name +
                        ": the ring3 platform needs a vmlinux built with CONFIG_XEN_PV"};
  }
  return *value;
}

// The tables that map [0, mapped) at `virtual_base`: a root, one table of level 3 and 2, and some of level 1.
struct FirstTables {
  uint64_t root;
  uint64_t count;
};

Result<FirstTables> BuildTables(Pages& pages, const GuestMemory& memory, const Window& window,
                                uint64_t virtual_base, uint64_t mapped) {
  const uint64_t level1_tables = mapped / kLevel1Reach;
  HMVM_TRY_ASSIGN(const uint64_t root, pages.Take(kPageSize, "first page tables"));
  HMVM_TRY_ASSIGN(const uint64_t level3, pages.Take(kPageSize, "first page tables"));
  HMVM_TRY_ASSIGN(const uint64_t level2, pages.Take(kPageSize, "first page tables"));
  HMVM_TRY_ASSIGN(const uint64_t level1, pages.Take(level1_tables * kPageSize, "first page tables"));

  constexpr uint64_t kFlags = kEntryPresent | kEntryWritable | kEntryUser;
  const auto set = [&memory](uint64_t table, uint64_t index, uint64_t entry) {
    return memory.Write(GuestAddress{table + index * sizeof(uint64_t)}, entry);
  };
  HMVM_TRY(set(root, (virtual_base >> 39) & 511, level3 | kFlags));
  HMVM_TRY(set(root, kMonitorSlot, window.kernel_view()));
  HMVM_TRY(set(root, kDirectMapSlot, window.kernel_direct_map()));
  HMVM_TRY(set(level3, (virtual_base >> 30) & 511, level2 | kFlags));
  for (uint64_t i = 0; i < level1_tables; ++i) HMVM_TRY(set(level2, i, (level1 + i * kPageSize) | kFlags));
  for (uint64_t i = 0; i < mapped / kPageSize; ++i) HMVM_TRY(set(level1, i, (i * kPageSize) | kFlags));

  window.SetPageType(root / kPageSize, 4);
  window.SetPageType(level3 / kPageSize, 3);
  window.SetPageType(level2 / kPageSize, 2);
  for (uint64_t i = 0; i < level1_tables; ++i) window.SetPageType(level1 / kPageSize + i, 1);
  return FirstTables{root, 3 + level1_tables};
}

// Frame numbers of RAM, and no frame in the hole.
Result<> WriteP2m(const GuestMemory& memory, uint64_t p2m, uint64_t frames) {
  HMVM_TRY_ASSIGN(const std::span<std::byte> bytes,
                  memory.Slice(GuestAddress{p2m}, frames * sizeof(uint64_t)));
  // SAFETY: page aligned, of that size, and no guest runs yet.
  const std::span entries(reinterpret_cast<uint64_t*>(bytes.data()), frames);
  if (memory.booted_regions().size() > 1) std::ranges::fill(entries, kInvalidFrame);
  for (const GuestMemory::Region& region : memory.booted_regions()) {
    const uint64_t first = region.start.value / kPageSize;
    for (uint64_t i = 0; i < region.host.size() / kPageSize; ++i) entries[first + i] = first + i;
  }
  return {};
}

}  // namespace

Result<StartState> BuildBoot(const BootSource& source, const GuestMemory& memory, const Window& window) {
  // A PV kernel is entered as it was linked, so the code around it in a bzImage has nothing to do.
  Mapping unpacked;
  if (BzImage::IsBzImage(source.kernel)) {
    HMVM_TRY_ASSIGN(unpacked, UnpackVmlinux(source.kernel));
  }
  HMVM_TRY_ASSIGN(const ElfImage image,
                  ElfImage::Parse(unpacked.size() > 0 ? unpacked.bytes() : source.kernel));
  HMVM_TRY_ASSIGN(const uint64_t entry, RequiredNote(image, kNoteEntry, "ENTRY"));
  HMVM_TRY_ASSIGN(const uint64_t virtual_base, RequiredNote(image, kNoteVirtBase, "VIRT_BASE"));
  if (virtual_base % kLevel2Reach != 0 || virtual_base >> 47 != 0x1ffff) {
    return Error{ENOEXEC, "the kernel's virtual base is not at a GiB of the upper half"};
  }
  const std::string command_line = kCommandLine + HypercallEntry(window) + source.command_line;
  if (command_line.size() >= sizeof(StartInfo::cmd_line)) {
    return Error{E2BIG, "the guest's command line is longer than 1023 bytes"};
  }
  HMVM_TRY(image.Load(memory));

  Pages pages(memory, image.physical_end());
  HMVM_TRY_ASSIGN(const uint64_t initrd, pages.Take(source.initrd.size(), "initrd"));
  if (!source.initrd.empty()) HMVM_TRY(memory.WriteBytes(GuestAddress{initrd}, source.initrd));
  HMVM_TRY_ASSIGN(const uint64_t p2m, pages.Take(window.frames() * sizeof(uint64_t), "frame list"));
  HMVM_TRY(WriteP2m(memory, p2m, window.frames()));
  HMVM_TRY_ASSIGN(const uint64_t start_info, pages.Take(kPageSize, "start info"));
  HMVM_TRY_ASSIGN(const uint64_t store, pages.Take(kPageSize, "store page"));
  HMVM_TRY_ASSIGN(const uint64_t stack, pages.Take(kPageSize, "first stack"));

  // The tables map themselves, and 512 KiB beyond all for the kernel to begin with; to whole 4 MiB (xen.h).
  constexpr uint64_t kMostTables = (kLevel2Reach / kLevel1Reach + 3) * kPageSize;
  const uint64_t mapped = std::min(RoundUp(pages.next() + kMostTables + 512 * 1024, 4 * kMiB), kLevel2Reach);
  HMVM_TRY_ASSIGN(const FirstTables tables, BuildTables(pages, memory, window, virtual_base, mapped));
  if (pages.next() > kLevel2Reach - 512 * 1024) {
    return Error{E2BIG, "kernel and initrd do not fit into the first GiB"};
  }
  if (memory.size_bytes() - std::min(memory.size_bytes(), pages.next()) < kLeastFree) {
    return Error{ENOMEM, "guest memory of " + std::to_string(memory.size_bytes() / kMiB) +
                             " MiB is too little: this kernel and initrd need at least " +
                             std::to_string((pages.next() + kLeastFree + kMiB - 1) / kMiB) + " MiB"};
  }

  StartInfo info = {};
  std::memcpy(info.magic, kStartInfoMagic, sizeof(kStartInfoMagic));
  info.nr_pages = window.frames();
  info.shared_info = Window::PhysicalOf(kSharedInfoOffset);
  info.store_frame = store / kPageSize;
  info.pt_base = virtual_base + tables.root;
  info.nr_pt_frames = tables.count;
  info.mfn_list = virtual_base + p2m;
  if (!source.initrd.empty()) {
    info.mod_start = virtual_base + initrd;
    info.mod_len = source.initrd.size();
  }
  std::memcpy(info.cmd_line, command_line.data(), command_line.size());
  HMVM_TRY(memory.Write(GuestAddress{start_info}, info));
  StartState start;
  start.root = tables.root;
  start.registers.rip = entry;
  start.registers.rsp = virtual_base + stack + kPageSize;
  start.registers.rsi = virtual_base + start_info;
  start.registers.rflags = 0x202;
  return start;
}

}  // namespace hmvm::ring3
