#include "vmm/virtio/mem.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vmm/memory/write_marks.h"
#include "vmm/virtio/testing/fake_driver.h"

namespace hmvm {
namespace {

constexpr uint64_t kBlocks = 5;
constexpr uint64_t kBlock = Mem::kBlockBytes;
constexpr uint64_t kRegion = 2 * Mem::kRegionUnitBytes;

class MemTest : public ::testing::Test {
 protected:
  MemTest() : machine_(4 << 20, {.bytes = kBlocks * kBlock, .region_bytes = kRegion}) {
    EXPECT_TRUE(machine_.Activate(mem_, kCommonFeatures).has_value());
  }

  virtio_mem_resp Ask(uint16_t type, uint64_t address, uint16_t blocks) {
    virtio_mem_req request = {};
    request.type = type;
    request.u.plug = {.addr = address, .nb_blocks = blocks, .padding = {}};
    return AskBytes(std::as_bytes(std::span(&request, 1)));
  }
  virtio_mem_resp AskBytes(std::span<const std::byte> request) {
    const FakeQueue::Buffer buffers[] = {
        {machine_.Place(request), static_cast<uint32_t>(request.size()), false},
        {machine_.heap.Allocate(sizeof(virtio_mem_resp)), sizeof(virtio_mem_resp), true}};
    machine_.queues[0].Add(buffers);
    while (mem_.OnQueueNotify(0)) {
    }
    EXPECT_EQ(machine_.queues[0].TakeUsed()->len, sizeof(virtio_mem_resp));
    return machine_.memory.Read<virtio_mem_resp>(buffers[1].address).value();
  }
  uint16_t Plug(uint64_t address, uint16_t blocks) { return Ask(VIRTIO_MEM_REQ_PLUG, address, blocks).type; }
  uint16_t Unplug(uint64_t address, uint16_t blocks) {
    return Ask(VIRTIO_MEM_REQ_UNPLUG, address, blocks).type;
  }
  uint16_t StateOf(uint64_t address, uint16_t blocks) {
    const virtio_mem_resp response = Ask(VIRTIO_MEM_REQ_STATE, address, blocks);
    EXPECT_EQ(response.type, VIRTIO_MEM_RESP_ACK);
    return response.u.state.state;
  }
  static virtio_mem_config ConfigOf(const Mem& mem) {
    virtio_mem_config config;
    mem.ReadConfig(0, std::as_writable_bytes(std::span(&config, 1)));
    return config;
  }

  FakeMachine machine_;
  Mem mem_{machine_.memory};
};

TEST_F(MemTest, ConfigurationSaysWhatThereIsAndHowMuchIsPlugged) {
  ASSERT_EQ(Plug(kHighRamStart, 2), VIRTIO_MEM_RESP_ACK);

  const virtio_mem_config config = ConfigOf(mem_);

  EXPECT_EQ(config.block_size, kBlock);
  EXPECT_EQ(config.addr, kHighRamStart);
  EXPECT_EQ(config.region_size, kRegion);
  EXPECT_EQ(config.usable_region_size, Mem::kRegionUnitBytes);
  EXPECT_EQ(config.plugged_size, 2 * kBlock);
  EXPECT_EQ(config.requested_size, kBlocks * kBlock);
}

TEST_F(MemTest, BlocksArePluggedAndUnpluggedOnce) {
  EXPECT_EQ(Plug(kHighRamStart + kBlock, 2), VIRTIO_MEM_RESP_ACK);
  EXPECT_EQ(Plug(kHighRamStart + 2 * kBlock, 2), VIRTIO_MEM_RESP_ERROR);
  EXPECT_EQ(Unplug(kHighRamStart, 2), VIRTIO_MEM_RESP_ERROR);

  EXPECT_EQ(StateOf(kHighRamStart, 1), VIRTIO_MEM_STATE_UNPLUGGED);
  EXPECT_EQ(StateOf(kHighRamStart + kBlock, 2), VIRTIO_MEM_STATE_PLUGGED);
  EXPECT_EQ(StateOf(kHighRamStart, 2), VIRTIO_MEM_STATE_MIXED);
  EXPECT_EQ(Unplug(kHighRamStart + kBlock, 2), VIRTIO_MEM_RESP_ACK);
  EXPECT_EQ(ConfigOf(mem_).plugged_size, 0u);
}

TEST_F(MemTest, RangesThatAreNotWholeBlocksOfTheMemoryAreRefused) {
  struct Case {
    uint64_t address;
    uint16_t blocks;
  };
  const Case cases[] = {
      {0, 1},
      {kHighRamStart - kBlock, 1},
      {kHighRamStart + 1, 1},
      {kHighRamStart + kBlock / 2, 1},
      {kHighRamStart, 0},
      {kHighRamStart, kBlocks + 1},
      {kHighRamStart, 0xffff},
      {kHighRamStart + kBlocks * kBlock, 1},  // room, but no memory
      {kHighRamStart + kRegion, 1},
      {kHighRamStart + kRegion - kBlock, 2},
      {0 - kBlock, 1},
      {0 - kBlock, 0xffff},
  };

  for (const auto& [address, blocks] : cases) {
    for (const uint16_t type : {VIRTIO_MEM_REQ_PLUG, VIRTIO_MEM_REQ_UNPLUG, VIRTIO_MEM_REQ_STATE}) {
      EXPECT_EQ(Ask(type, address, blocks).type, VIRTIO_MEM_RESP_ERROR) << address << " " << blocks;
    }
  }
  EXPECT_EQ(ConfigOf(mem_).plugged_size, 0u);
}

TEST_F(MemTest, UnknownAndShortRequestsAreErrors) {
  EXPECT_EQ(Ask(4, kHighRamStart, 1).type, VIRTIO_MEM_RESP_ERROR);
  EXPECT_EQ(Ask(0xffff, kHighRamStart, 1).type, VIRTIO_MEM_RESP_ERROR);
  const std::byte request[8] = {};
  EXPECT_EQ(AskBytes(request).type, VIRTIO_MEM_RESP_ERROR);
}

TEST_F(MemTest, AnAnswerThatHasNoRoomIsLeftOut) {
  const virtio_mem_req request = {};
  const FakeQueue::Buffer buffers[] = {
      {machine_.Place(std::as_bytes(std::span(&request, 1))), sizeof(request), false},
      {machine_.heap.Allocate(1), 1, true}};
  machine_.queues[0].Add(buffers);

  while (mem_.OnQueueNotify(0)) {
  }

  EXPECT_EQ(machine_.queues[0].TakeUsed()->len, 1u);
}

TEST_F(MemTest, UnpluggedMemoryGoesBackAndCountsAsChanged) {
  ASSERT_EQ(Plug(kHighRamStart, kBlocks), VIRTIO_MEM_RESP_ACK);
  const GuestAddress place{kHighRamStart + kBlock + 8};
  ASSERT_TRUE(machine_.memory.Write(place, uint64_t{7}).has_value());
  ASSERT_TRUE(machine_.memory.write_marks().TurnOn().has_value());

  ASSERT_EQ(Unplug(kHighRamStart + kBlock, 1), VIRTIO_MEM_RESP_ACK);

  EXPECT_EQ(machine_.memory.Read<uint64_t>(place).value(), 0u);
  const uint64_t booted_pages = machine_.memory.booted_bytes() / kPageBytes;
  PageBitmap pages(machine_.memory.size_bytes() / kPageBytes);
  machine_.memory.write_marks().CollectInto(pages, booted_pages, 0);
  EXPECT_TRUE(pages.Has(booted_pages + kBlock / kPageBytes));
  EXPECT_TRUE(pages.Has(booted_pages + 2 * kBlock / kPageBytes - 1));
}

TEST_F(MemTest, UnplugAllTakesWhatIsPlugged) {
  ASSERT_EQ(Plug(kHighRamStart + 3 * kBlock, 2), VIRTIO_MEM_RESP_ACK);

  EXPECT_EQ(Ask(VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0).type, VIRTIO_MEM_RESP_ACK);

  EXPECT_EQ(ConfigOf(mem_).plugged_size, 0u);
}

TEST_F(MemTest, WhatIsPluggedOutlivesAReset) {
  ASSERT_EQ(Plug(kHighRamStart, 2), VIRTIO_MEM_RESP_ACK);

  ASSERT_TRUE(machine_.Activate(mem_, kCommonFeatures).has_value());

  EXPECT_EQ(StateOf(kHighRamStart, 2), VIRTIO_MEM_STATE_PLUGGED);
}

TEST_F(MemTest, MoreMemoryAfterARestoreIsToldAndWhatWasPluggedStays) {
  ASSERT_EQ(Plug(kHighRamStart + kBlock, 1), VIRTIO_MEM_RESP_ACK);
  snapshot::VirtioState state;
  mem_.Save(&state);
  FakeMachine larger(4 << 20, {.bytes = 9 * kBlock, .region_bytes = kRegion});
  Mem restored(larger.memory);
  ASSERT_TRUE(larger.Activate(restored, kCommonFeatures).has_value());

  ASSERT_TRUE(restored.Restore(state).has_value());

  EXPECT_EQ(larger.interrupt.config, 1);
  EXPECT_EQ(ConfigOf(restored).plugged_size, kBlock);
  EXPECT_EQ(ConfigOf(restored).requested_size, 9 * kBlock);
  snapshot::VirtioState again;
  restored.Save(&again);
  EXPECT_EQ(again.mem().plugged()[0], 2);
}

TEST_F(MemTest, AStateThatDoesNotFitIsRefused) {
  snapshot::VirtioState good;
  mem_.Save(&good);
  const auto refused = [&](auto change) {
    snapshot::VirtioState bad = good;
    change(*bad.mutable_mem());
    return !mem_.Restore(bad).has_value();
  };

  EXPECT_FALSE(mem_.Restore(snapshot::VirtioState()).has_value());
  EXPECT_TRUE(refused([](auto& mem) { mem.set_region_bytes(kRegion / 2); }));
  EXPECT_TRUE(refused([](auto& mem) { mem.set_added_bytes(6 * kBlock); }));
  EXPECT_TRUE(refused([](auto& mem) { mem.set_added_bytes(UINT64_MAX); }));
  EXPECT_TRUE(refused([](auto& mem) { mem.set_plugged(""); }));
  EXPECT_TRUE(refused([](auto& mem) { mem.set_plugged("long"); }));
  EXPECT_TRUE(mem_.Restore(good).has_value());
}

TEST_F(MemTest, BrokenRingNeedsAReset) {
  machine_.queues[0].SetAvailableIndex(1000);

  mem_.OnQueueNotify(0);

  EXPECT_EQ(machine_.interrupt.needs_reset.size(), 1u);
}

}  // namespace
}  // namespace hmvm
