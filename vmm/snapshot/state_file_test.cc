#include "vmm/snapshot/state_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::HasSubstr;

snapshot::MachineState SomeState() {
  snapshot::MachineState state;
  state.set_platform("ring3");
  state.set_cpus(2);
  state.set_memory_bytes(128 << 20);
  state.add_virtio()->set_name("vsock");
  return state;
}

TEST(StateFileTest, WhatIsEncodedIsDecoded) {
  const auto decoded = DecodeState(EncodeState(SomeState()));

  ASSERT_TRUE(decoded.has_value()) << decoded.error().Message();
  EXPECT_EQ(decoded->SerializeAsString(), SomeState().SerializeAsString());
}

TEST(StateFileTest, EveryFlippedBitIsRefused) {
  const std::string good = EncodeState(SomeState());

  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ 1 << bit % 8);
    EXPECT_FALSE(DecodeState(bad).has_value()) << bit;
  }
}

TEST(StateFileTest, EveryCutIsRefused) {
  const std::string good = EncodeState(SomeState());

  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(DecodeState(good.substr(0, size)).has_value());
}

TEST(StateFileTest, RefusalsSayWhatItIs) {
  std::string newer = EncodeState(SomeState());
  newer[8] = 7;

  EXPECT_THAT(DecodeState(newer).error().what, HasSubstr("snapshot format 7; this hmvm reads 1 alone"));
  EXPECT_THAT(DecodeState("a text of thirty bytes or more").error().what, HasSubstr("does not begin with"));
  EXPECT_THAT(DecodeState("").error().what, HasSubstr("only 0 bytes"));
}

TEST(StateFileTest, AReportCountsAddedMemory) {
  snapshot::MachineState state = SomeState();
  state.set_memory_bytes(256 << 20);
  state.add_virtio()->mutable_mem()->set_added_bytes(44 << 20);

  EXPECT_THAT(StateReport(state), HasSubstr("\"memory_bytes\":314572800"));
}

TEST(StateFileTest, AReportIsJsonWhateverTheStateSays) {
  snapshot::MachineState state = SomeState();
  state.set_kernel("no \xff UTF-8");
  state.add_vcpus();
  state.add_vcpus();

  EXPECT_THAT(StateReport(state), HasSubstr("\"cpus\":2"));
}

}  // namespace
}  // namespace hmvm
