#include "images/digest.h"

#include <algorithm>
#include <array>
#include <new>

#include "base/escape.h"

namespace hmvm {

Result<Digest> Digest::Parse(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (!text.starts_with(kPrefix) || text.size() != kPrefix.size() + 64 ||
      !std::all_of(text.begin() + kPrefix.size(), text.end(), is_hex)) {
    return Error{0, "'" + Escape(text, 100) + "' is not a sha256 digest"};
  }
  return Digest{std::string(text.substr(kPrefix.size()))};
}

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
