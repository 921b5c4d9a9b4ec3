#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <openssl/evp.h>

#include "base/result.h"

namespace hmvm {

// A SHA-256 content address, the one algorithm that images in the wild use.
struct Digest {
  std::string hex;  // 64 lower-case digits: safe as a file name

  // "sha256:" and 64 lower-case digits; anything else is an error that shows the text.
  static Result<Digest> Parse(std::string_view text);
  std::string text() const { return "sha256:" + hex; }
  bool operator==(const Digest&) const = default;
};

class Sha256 {
 public:
  Sha256();
  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text) { Update(std::as_bytes(std::span(text))); }
  // Ends the computation; call once.
  Digest Finish();

  static Digest Of(std::string_view text);

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

}  // namespace hmvm
