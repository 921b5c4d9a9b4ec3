// Profiles are files of anybody's. What is accepted has a normal form that means the same.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "security/profile/profile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto profile =
      hmvm::ParseSecurityProfile("/", std::string_view(reinterpret_cast<const char*>(data), size));
  if (!profile.has_value()) return 0;
  const auto again = hmvm::ParseSecurityProfile("/", hmvm::FormatSecurityProfile(*profile));
  if (!again.has_value() || *again != *profile) std::abort();
  return 0;
}
