#include "vmm/boot/mptable.h"

#include <cassert>
#include <cstring>

namespace hmvm {
namespace {

// MP 1.4 §4.1
struct FloatingPointer {
  char signature[4];
  uint32_t table_address;
  uint8_t length_paragraphs;
  uint8_t revision;
  uint8_t checksum;
  uint8_t features[5];
};
static_assert(sizeof(FloatingPointer) == 16);

// §4.2
struct TableHeader {
  char signature[4];
  uint16_t length_bytes;
  uint8_t revision;
  uint8_t checksum;
  char oem_id[8];
  char product_id[12];
  uint32_t oem_table_address;
  uint16_t oem_table_bytes;
  uint16_t entries;
  uint32_t local_apic_address;
  uint16_t extended_bytes;
  uint8_t extended_checksum;
  uint8_t reserved;
};
static_assert(sizeof(TableHeader) == 44);

// §4.3: entry types
enum EntryType : uint8_t { kProcessor = 0, kBus = 1, kIoApic = 2, kIoInterrupt = 3, kLocalInterrupt = 4 };

struct ProcessorEntry {
  uint8_t type;
  uint8_t apic_id;
  uint8_t apic_version;
  uint8_t flags;  // 1: enabled, 2: the one that boots
  uint32_t signature;
  uint32_t features;
  uint32_t reserved[2];
};
static_assert(sizeof(ProcessorEntry) == 20);

struct BusEntry {
  uint8_t type;
  uint8_t bus_id;
  char name[6];
};

struct IoApicEntry {
  uint8_t type;
  uint8_t apic_id;
  uint8_t version;
  uint8_t flags;  // 1: usable
  uint32_t address;
};

// §4.3.4, §4.3.5: the same shape for interrupts of the IOAPIC and of the local APICs
struct InterruptEntry {
  uint8_t type;
  uint8_t interrupt_type;
  uint16_t flags;  // 0: polarity and trigger as is usual on the bus (ISA: high, edge)
  uint8_t source_bus;
  uint8_t source_interrupt;
  uint8_t target_apic;
  uint8_t target_pin;
};
static_assert(sizeof(InterruptEntry) == 8);

enum InterruptType : uint8_t { kVectored = 0, kNmi = 1, kExternal = 3 };

constexpr uint8_t kIsaBus = 0;
constexpr uint8_t kAllApics = 0xff;
constexpr uint8_t kApicVersion = 0x14;
constexpr uint8_t kIoApicVersion = 0x11;
constexpr uint32_t kLocalApicAddress = 0xfee00000;
constexpr uint32_t kIoApicAddress = 0xfec00000;
constexpr uint8_t kRevision14 = 4;

// What makes the sum of all bytes zero.
uint8_t Checksum(const void* data, size_t size) {
  uint8_t sum = 0;
  for (size_t i = 0; i < size; ++i) sum = static_cast<uint8_t>(sum + static_cast<const uint8_t*>(data)[i]);
  return static_cast<uint8_t>(-sum);
}

class Table {
 public:
  Table() : bytes_(sizeof(FloatingPointer) + sizeof(TableHeader)) {}

  template <typename Entry>
  void Add(const Entry& entry) {
    const size_t offset = bytes_.size();
    bytes_.resize(offset + sizeof(Entry));
    std::memcpy(bytes_.data() + offset, &entry, sizeof(Entry));
    ++entries_;
  }

  std::vector<std::byte> Finish() {
    std::byte* const table = bytes_.data() + sizeof(FloatingPointer);
    TableHeader header = {};
    std::memcpy(header.signature, "PCMP", 4);
    header.length_bytes = static_cast<uint16_t>(bytes_.size() - sizeof(FloatingPointer));
    header.revision = kRevision14;
    std::memcpy(header.oem_id, "HMVM    ", 8);
    std::memcpy(header.product_id, "MICROVM     ", 12);
    header.entries = entries_;
    header.local_apic_address = kLocalApicAddress;
    std::memcpy(table, &header, sizeof(header));
    header.checksum = Checksum(table, header.length_bytes);
    std::memcpy(table, &header, sizeof(header));

    FloatingPointer pointer = {};
    std::memcpy(pointer.signature, "_MP_", 4);
    pointer.table_address = kMpTableAddress + sizeof(FloatingPointer);
    pointer.length_paragraphs = sizeof(FloatingPointer) / 16;
    pointer.revision = kRevision14;
    pointer.checksum = Checksum(&pointer, sizeof(pointer));
    std::memcpy(bytes_.data(), &pointer, sizeof(pointer));
    return std::move(bytes_);
  }

 private:
  std::vector<std::byte> bytes_;
  uint16_t entries_ = 0;
};

}  // namespace

std::vector<std::byte> MakeMpTable(uint32_t processors) {
  assert(processors >= 1 && processors <= kMaxMpProcessors);
  const auto io_apic_id = static_cast<uint8_t>(processors);
  Table table;
  for (uint32_t id = 0; id < processors; ++id) {
    ProcessorEntry processor = {};
    processor.type = kProcessor;
    processor.apic_id = static_cast<uint8_t>(id);
    processor.apic_version = kApicVersion;
    processor.flags = id == 0 ? 3 : 1;
    processor.signature = 0x600;  // family 6; the guest believes CPUID
    processor.features = 0x201;   // FPU and APIC on chip
    table.Add(processor);
  }
  table.Add(BusEntry{kBus, kIsaBus, {'I', 'S', 'A', ' ', ' ', ' '}});
  table.Add(IoApicEntry{kIoApic, io_apic_id, kIoApicVersion, 1, kIoApicAddress});
  for (uint8_t pin = 0; pin < kIoApicPins; ++pin) {
    table.Add(InterruptEntry{kIoInterrupt, kVectored, 0, kIsaBus, pin, io_apic_id, pin});
  }
  table.Add(InterruptEntry{kLocalInterrupt, kExternal, 0, kIsaBus, 0, 0, 0});
  table.Add(InterruptEntry{kLocalInterrupt, kNmi, 0, kIsaBus, 0, kAllApics, 1});
  return table.Finish();
}

}  // namespace hmvm
