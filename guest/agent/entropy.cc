#include "guest/agent/entropy.h"

#include <linux/random.h>
#include <sys/ioctl.h>

#include <cstring>

#include "base/file.h"

namespace hmvm::agent {

Result<> AddEntropy(std::span<const std::byte> bytes) {
  if (bytes.size() < kMinEntropyBytes || bytes.size() > kMaxEntropyBytes) {
    return Error{EINVAL, std::to_string(bytes.size()) + " bytes of entropy"};
  }
  // rand_pool_info: two ints, then the bytes.
  struct {
    int entropy_bits;
    int size_bytes;
    std::byte bytes[kMaxEntropyBytes];
  } pool = {.entropy_bits = static_cast<int>(bytes.size() * 8),
            .size_bytes = static_cast<int>(bytes.size()),
            .bytes = {}};
  std::memcpy(pool.bytes, bytes.data(), bytes.size());
  HMVM_TRY_ASSIGN(const UniqueFd random, OpenFile("/dev/urandom", O_RDWR));
  if (::ioctl(random.get(), RNDADDENTROPY, &pool) < 0) return Error{errno, "add entropy"};
  if (::ioctl(random.get(), RNDRESEEDCRNG) < 0) return Error{errno, "reseed the random number generator"};
  ::explicit_bzero(&pool, sizeof(pool));
  return {};
}

}  // namespace hmvm::agent
