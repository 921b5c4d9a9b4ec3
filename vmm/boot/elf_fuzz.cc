// Any bytes as a vmlinux: parse, look at the notes, load into a small guest.
#include "vmm/boot/elf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const hmvm::GuestMemory memory = hmvm::GuestMemory::Create(1 << 20).value();
  const auto image = hmvm::ElfImage::Parse(std::as_bytes(std::span(data, size)));
  if (!image.has_value()) return 0;
  for (const hmvm::ElfNote& note : image->notes()) image->NumberNote(note.name, note.type);
  static_cast<void>(image->Load(memory));
  return 0;
}
