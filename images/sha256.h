#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include <openssl/evp.h>

#include "images/digest.h"

namespace hmvm {

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
