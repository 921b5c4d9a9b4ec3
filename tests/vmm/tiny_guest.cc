#include "tests/vmm/tiny_guest.h"

#include <asm/bootparam.h>
#include <elf.h>

#include <cstring>
#include <fstream>

#include "vmm/boot/testing/setup_header.h"

namespace hmvm::test {

Code OutByte(uint16_t port, uint8_t value) {
  return {0x66, 0xba,  static_cast<uint8_t>(port), static_cast<uint8_t>(port >> 8),  // mov $port, %dx
          0xb0, value,                                                               // mov $value, %al
          0xee};                                                                     // out %al, %dx
}

Code Print(const std::string& text) {
  constexpr uint16_t kSerialPort = 0x3f8;
  Code code;
  for (const char character : text) {
    const Code out = OutByte(kSerialPort, static_cast<uint8_t>(character));
    code.insert(code.end(), out.begin(), out.end());
  }
  return code;
}

Code Halt() { return {0xfa, 0xf4, 0xeb, 0xfd}; }  // cli; 1: hlt; jmp 1b

Code TripleFault() { return {0x0f, 0x0b}; }  // ud2

namespace {

constexpr uint64_t kAddress = 0x100000;

Code Join(std::initializer_list<Code> pieces) {
  Code code;
  for (const Code& piece : pieces) code.insert(code.end(), piece.begin(), piece.end());
  return code;
}

}  // namespace

void WriteGuest(const std::filesystem::path& path, std::initializer_list<Code> pieces) {
  const Code code = Join(pieces);
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_entry = kAddress;
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment = {};
  segment.p_type = PT_LOAD;
  segment.p_flags = PF_R | PF_X;
  segment.p_offset = sizeof(header) + sizeof(segment);
  segment.p_vaddr = segment.p_paddr = kAddress;
  segment.p_filesz = segment.p_memsz = code.size();

  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&header), sizeof(header));
  file.write(reinterpret_cast<const char*>(&segment), sizeof(segment));
  file.write(reinterpret_cast<const char*>(code.data()), static_cast<std::streamsize>(code.size()));
}

void WriteBzImage(const std::filesystem::path& path, std::initializer_list<Code> pieces) {
  constexpr size_t kEntry = 0x200;  // of the payload, in 64-bit mode
  const Code code = Join(pieces);
  setup_header header = MakeTestSetupHeader();
  header.syssize = static_cast<uint32_t>((kEntry + code.size() + 15) / 16);
  header.initrd_addr_max = 0x7fffffff;
  header.pref_address = kAddress;
  header.init_size = 0x10000;
  std::string file(kTestSetUpBytes + header.syssize * 16, '\0');
  std::memcpy(file.data() + offsetof(boot_params, hdr), &header, sizeof(header));
  std::memcpy(file.data() + kTestSetUpBytes + kEntry, code.data(), code.size());
  std::ofstream(path, std::ios::binary) << file;
}

}  // namespace hmvm::test
