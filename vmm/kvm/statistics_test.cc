#include "vmm/kvm/statistics.h"

#include <sys/mman.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::Pair;

// A file as KVM lays it out: header, descriptors with names of 8 bytes, values.
struct Descriptor {
  uint32_t flags;
  int16_t exponent;
  uint16_t size;
  uint32_t offset;
  uint32_t bucket_size;
  char name[8];
};
struct File {
  kvm_stats_header header = {.flags = 0,
                             .name_size = 8,
                             .num_desc = 3,
                             .id_offset = 0,
                             .desc_offset = offsetof(File, descriptors),
                             .data_offset = offsetof(File, values)};
  Descriptor descriptors[3] = {
      {0, 0, 1, 0, 0, "exits"}, {0, 0, 2, 8, 0, "history"}, {0, 0, 1, 24, 0, "flushes"}};
  uint64_t values[4] = {7, 1, 2, UINT64_MAX};
};

UniqueFd Write(const File& file, size_t bytes = sizeof(File)) {
  UniqueFd fd(::memfd_create("statistics", MFD_CLOEXEC));
  EXPECT_TRUE(WriteAll(fd.get(), std::as_bytes(std::span(&file, 1)).first(bytes)).has_value());
  return fd;
}

TEST(KvmStatisticsTest, CountersComeByNameWithoutHistograms) {
  const auto statistics = KvmStatistics::Open(Write(File()));

  ASSERT_TRUE(statistics.has_value()) << statistics.error().Message();
  EXPECT_THAT(*statistics->Read(), ElementsAre(Pair("exits", 7), Pair("flushes", UINT64_MAX)));
}

TEST(KvmStatisticsTest, AFileThatEndsEarlyIsAnError) {
  EXPECT_FALSE(KvmStatistics::Open(Write(File(), sizeof(kvm_stats_header) + 20)).has_value());
}

TEST(KvmStatisticsTest, SizesBeyondReasonAreAnError) {
  File file;
  file.header.name_size = 0xffffffff;

  EXPECT_FALSE(KvmStatistics::Open(Write(file)).has_value());
}

}  // namespace
}  // namespace hmvm
