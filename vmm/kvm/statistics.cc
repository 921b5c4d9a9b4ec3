#include "vmm/kvm/statistics.h"

#include <unistd.h>

#include <cstring>
#include <span>

#include "security/fd_class.h"

namespace hmvm {
namespace {

constexpr uint32_t kMaxNameBytes = 256;
constexpr uint32_t kMaxCounters = 4096;

// The head of kvm_stats_desc, whose flexible array moves in C++.
struct DescriptorHead {
  uint32_t flags;
  int16_t exponent;
  uint16_t size;  // values: more than one is a histogram
  uint32_t offset;
  uint32_t bucket_size;
};
static_assert(sizeof(DescriptorHead) == 16);

Result<> ReadAt(int fd, uint64_t position, std::span<std::byte> bytes) {
  if (::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(position)) !=
      static_cast<ssize_t>(bytes.size())) {
    return Error{EIO, "read KVM's statistics"};
  }
  return {};
}

template <typename Value>
Result<Value> ReadValue(int fd, uint64_t position) {
  Value value = {};
  HMVM_TRY(ReadAt(fd, position, std::as_writable_bytes(std::span(&value, 1))));
  return value;
}

}  // namespace

Result<KvmStatistics> KvmStatistics::Of(const Vm& vm) {
  HMVM_TRY_ASSIGN(const int fd, vm.Ioctl(KVM_GET_STATS_FD, nullptr, "KVM_GET_STATS_FD"));
  HMVM_TRY_ASSIGN(UniqueFd placed, Place(fd_class::kCounters, UniqueFd(fd)));
  return Open(std::move(placed));
}

Result<KvmStatistics> KvmStatistics::Of(const Vcpu& vcpu) {
  HMVM_TRY_ASSIGN(const int fd, vcpu.Ioctl(KVM_GET_STATS_FD, nullptr, "KVM_GET_STATS_FD"));
  HMVM_TRY_ASSIGN(UniqueFd placed, Place(fd_class::kCounters, UniqueFd(fd)));
  return Open(std::move(placed));
}

Result<KvmStatistics> KvmStatistics::Open(UniqueFd fd) {
  KvmStatistics statistics(std::move(fd));
  const int file = statistics.fd_.get();
  HMVM_TRY_ASSIGN(const auto header, ReadValue<kvm_stats_header>(file, 0));
  if (header.name_size == 0 || header.name_size > kMaxNameBytes || header.num_desc > kMaxCounters) {
    return Error{EPROTO, "KVM's statistics"};
  }
  const size_t descriptor_bytes = sizeof(DescriptorHead) + header.name_size;
  std::vector<std::byte> descriptors(header.num_desc * descriptor_bytes);
  HMVM_TRY(ReadAt(file, header.desc_offset, descriptors));
  for (size_t at = 0; at < descriptors.size(); at += descriptor_bytes) {
    DescriptorHead head;
    std::memcpy(&head, descriptors.data() + at, sizeof(head));
    std::string name(header.name_size, '\0');
    std::memcpy(name.data(), descriptors.data() + at + sizeof(head), name.size());
    name.resize(::strnlen(name.data(), name.size()));
    if (head.size == 1) {
      statistics.counters_.push_back({std::move(name), uint64_t{header.data_offset} + head.offset});
    }
  }
  return statistics;
}

Result<std::vector<std::pair<std::string, uint64_t>>> KvmStatistics::Read() const {
  std::vector<std::pair<std::string, uint64_t>> values;
  for (const Counter& counter : counters_) {
    HMVM_TRY_ASSIGN(const auto value, ReadValue<uint64_t>(fd_.get(), counter.position));
    values.emplace_back(counter.name, value);
  }
  return values;
}

}  // namespace hmvm
