#include "vmm/devices/bus.h"

#include <array>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

class RecordingDevice : public BusDevice {
 public:
  void Read(uint64_t offset, std::span<std::byte> data) override {
    last_offset = offset;
    for (std::byte& byte : data) byte = std::byte{0x5a};
  }
  void Write(uint64_t offset, std::span<const std::byte> data) override {
    last_offset = offset;
    last_value = data[0];
  }

  uint64_t last_offset = UINT64_MAX;
  std::byte last_value{};
};

TEST(BusTest, AccessReachesTheDeviceOfItsRange) {
  Bus bus;
  RecordingDevice low, high;
  ASSERT_TRUE(bus.Add(0x1000, 0x100, &low).has_value());
  ASSERT_TRUE(bus.Add(0x1100, 0x100, &high).has_value());
  const std::array value = {std::byte{7}};

  EXPECT_TRUE(bus.Write(0x10ff, value));
  EXPECT_TRUE(bus.Write(0x1100, value));

  EXPECT_EQ(low.last_offset, 0xffu);
  EXPECT_EQ(high.last_offset, 0u);
  EXPECT_EQ(high.last_value, std::byte{7});
}

TEST(BusTest, EmptyAddressReadsAsOnesAndLosesWrites) {
  Bus bus;
  RecordingDevice device;
  ASSERT_TRUE(bus.Add(0x1000, 0x100, &device).has_value());
  std::array<std::byte, 2> data = {};

  EXPECT_FALSE(bus.Read(0xfff, data));
  EXPECT_FALSE(bus.Write(0x1100, data));

  EXPECT_EQ(data[0], std::byte{0xff});
  EXPECT_EQ(data[1], std::byte{0xff});
  EXPECT_EQ(device.last_offset, UINT64_MAX);
}

TEST(BusTest, OverlappingRangesAreRefused) {
  Bus bus;
  RecordingDevice device;
  ASSERT_TRUE(bus.Add(0x1000, 0x100, &device).has_value());

  EXPECT_EQ(bus.Add(0x1000, 0x100, &device).error().code, EEXIST);
  EXPECT_EQ(bus.Add(0x10ff, 1, &device).error().code, EEXIST);
  EXPECT_EQ(bus.Add(0xfff, 2, &device).error().code, EEXIST);
  EXPECT_EQ(bus.Add(0, 0x10000, &device).error().code, EEXIST);
}

TEST(BusTest, EmptyAndWrappingRangesAreRefused) {
  Bus bus;
  RecordingDevice device;

  EXPECT_EQ(bus.Add(0x1000, 0, &device).error().code, EINVAL);
  EXPECT_EQ(bus.Add(UINT64_MAX, 2, &device).error().code, EINVAL);
}

}  // namespace
}  // namespace hmvm
