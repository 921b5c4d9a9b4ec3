// Guests of a few instructions, as kernel files: enough to see how a machine starts and ends, in
// milliseconds and without a kernel build.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

namespace hmvm::test {

// 64-bit code, entered by the boot protocol.
using Code = std::vector<uint8_t>;

Code OutByte(uint16_t port, uint8_t value);  // one byte to an I/O port
Code Print(const std::string& text);         // to the serial port
Code Halt();                                 // for ever
Code TripleFault();                          // an invalid instruction without an IDT

// An ELF file of these pieces, one after the other.
void WriteGuest(const std::filesystem::path& path, std::initializer_list<Code> pieces);
// The same as a bzImage.
void WriteBzImage(const std::filesystem::path& path, std::initializer_list<Code> pieces);

}  // namespace hmvm::test
