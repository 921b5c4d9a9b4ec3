#include "images/sha256.h"

#include <array>
#include <new>

namespace hmvm {

// OpenSSL's digest calls fail only for want of memory, which ends the process like any other allocation.
Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
}

void Sha256::Update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1) throw std::bad_alloc();
}

Digest Sha256::Finish() {
  std::array<unsigned char, 32> value = {};
  if (EVP_DigestFinal_ex(context_.get(), value.data(), nullptr) != 1) throw std::bad_alloc();
  constexpr char kDigits[] = "0123456789abcdef";
  Digest digest;
  for (const unsigned char byte : value) {
    digest.hex += kDigits[byte >> 4];
    digest.hex += kDigits[byte & 15];
  }
  return digest;
}

Digest Sha256::Of(std::string_view text) {
  Sha256 hash;
  hash.Update(text);
  return hash.Finish();
}

}  // namespace hmvm
