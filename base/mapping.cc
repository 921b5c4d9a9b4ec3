#include "base/mapping.h"

namespace hmvm {

Mapping::~Mapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Result<Mapping> Mapping::Anonymous(size_t size_bytes) {
  return OfFile(-1, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
}

Result<Mapping> Mapping::OfFile(int fd, size_t size_bytes, int prot, int flags, uint64_t offset_bytes) {
  void* address = ::mmap(nullptr, size_bytes, prot, flags, fd, static_cast<off_t>(offset_bytes));
  if (address == MAP_FAILED) return Error{errno, "map " + std::to_string(size_bytes) + " bytes"};
  return Mapping(std::span(static_cast<std::byte*>(address), size_bytes));
}

}  // namespace hmvm
