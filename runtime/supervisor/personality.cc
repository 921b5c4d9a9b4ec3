#include "runtime/supervisor/personality.h"

#include <sys/random.h>

#include <cstdio>

namespace hmvm {
namespace {

constexpr size_t kEntropyBytes = 256;  // getrandom(2) gives so many in one piece
constexpr size_t kMachineIdBytes = 16;

std::string RandomBytes(size_t size) {
  std::string bytes(size, '\0');
  while (::getrandom(bytes.data(), size, 0) != static_cast<ssize_t>(size)) {
  }
  return bytes;
}

// As systemd makes them: a random UUID (RFC 9562 version 4) without its hyphens.
std::string NewMachineId() {
  std::string bytes = RandomBytes(kMachineIdBytes);
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string text;
  for (const char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", static_cast<unsigned char>(byte));
    text += digits;
  }
  return text;
}

}  // namespace

agent::v1::PersonaliseRequest NewPersonality(const std::string& hostname) {
  agent::v1::PersonaliseRequest request;
  request.set_entropy(RandomBytes(kEntropyBytes));
  request.set_hostname(hostname);
  request.set_machine_id(NewMachineId());
  return request;
}

}  // namespace hmvm
