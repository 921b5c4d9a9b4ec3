#include "vmm/virtio/blk.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <set>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "vmm/virtio/testing/fake_driver.h"

namespace hmvm {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSectors = 8192;  // 4 MiB
constexpr uint64_t kDiskBytes = kSectors * 512;

UniqueFd MakeFile(std::string_view content) {
  std::string path = ::testing::TempDir() + "hmvm-blk-XXXXXX";
  UniqueFd fd(::mkstemp(path.data()));
  ::unlink(path.c_str());
  EXPECT_TRUE(WriteAll(fd.get(), content).has_value());
  return fd;
}

std::string RandomText(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  std::ranges::generate(text, [&] { return static_cast<char>(random()); });
  return text;
}

// One disk, served by io_uring or by system calls.
class BlkFixture {
 public:
  BlkFixture(bool uring, std::string_view content, bool read_only = false, const IoLimits& limits = {}) {
    Blk::Options options{.name = "blk0",
                         .file = MakeFile(content),
                         .read_only = read_only,
                         .serial = "root",
                         .limits = limits};
    file_ = *Duplicate(options.file.get());
    auto io = uring ? *CreateUringBlockIo(options.file.get(), Blk::kQueueSize)
                    : CreateSyncBlockIo(options.file.get(), Blk::kQueueSize);
    device_ = *Blk::CreateWith(std::move(io), std::move(options), *loop_);
    machine_.interrupt.on_used = [this] { loop_->Stop(); };
    Activate(device_->OfferedFeatures());
  }

  void Activate(uint64_t features) {
    EXPECT_TRUE(machine_.Activate(*device_, features).has_value());
    pending_.clear();
    // Every request wants its interrupt, and the first one too.
    machine_.queues[0].SetUsedEvent(0);
  }

  struct Answer {
    int status;
    uint32_t used_bytes;
    std::string data;
  };

  // A request with `data` for the device to read and `answer_bytes` for it to write before the status.
  void Send(uint32_t type, uint64_t sector, std::string_view data, uint32_t answer_bytes) {
    const virtio_blk_outhdr header = {.type = type, .ioprio = 0, .sector = sector};
    std::vector<FakeQueue::Buffer> buffers = {
        {machine_.Place(std::as_bytes(std::span(&header, 1))), sizeof(header), false}};
    // In several buffers, cut where no sector ends.
    for (size_t done = 0; done < data.size();) {
      const size_t part = std::min<size_t>(data.size() - done, done == 0 ? 700 : 65536);
      buffers.push_back({machine_.Place(data.substr(done, part)), static_cast<uint32_t>(part), false});
      done += part;
    }
    const GuestAddress answer = machine_.heap.Allocate(answer_bytes + 1);
    if (answer_bytes > 0) buffers.push_back({answer, answer_bytes, true});
    buffers.push_back({GuestAddress{answer.value + answer_bytes}, 1, true});
    pending_.push_back({machine_.queues[0].Add(buffers, /*indirect=*/true), answer, answer_bytes});
    ASSERT_TRUE(machine_.memory.Write(GuestAddress{answer.value + answer_bytes}, uint8_t{0xee}).has_value());
  }

  Answer Receive() {
    std::optional<vring_used_elem> used;
    while (!(used = machine_.queues[0].TakeUsed())) EXPECT_TRUE(loop_->Run().has_value());
    const auto request =
        std::ranges::find(pending_, used->id, [](const auto& pending) { return pending.head; });
    EXPECT_NE(request, pending_.end());
    Answer answer{.status = static_cast<uint8_t>(
                      machine_.Text(GuestAddress{request->answer.value + request->answer_bytes}, 1)[0]),
                  .used_bytes = used->len,
                  .data = machine_.Text(request->answer, request->answer_bytes)};
    pending_.erase(request);
    return answer;
  }

  Answer Do(uint32_t type, uint64_t sector, std::string_view data = {}, uint32_t answer_bytes = 0) {
    Send(type, sector, data, answer_bytes);
    Notify();
    return Receive();
  }

  Answer DoRange(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags = 0) {
    const virtio_blk_discard_write_zeroes range = {.sector = sector, .num_sectors = sectors, .flags = flags};
    return Do(type, 0, {reinterpret_cast<const char*>(&range), sizeof(range)});
  }

  void Notify() {
    std::lock_guard lock(device_->mutex());
    device_->OnQueueNotify(0);
  }

  std::string FileContent(uint64_t offset, size_t bytes) const {
    std::string content(bytes, '\0');
    EXPECT_EQ(::pread(file_.get(), content.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes));
    return content;
  }

  uint64_t Counter(std::string_view name) const {
    for (const auto& [counter, value] : device_->Counters()) {
      if (counter == name) return value;
    }
    return UINT64_MAX;
  }

  int file() const { return file_.get(); }
  VirtioDevice& device() { return *device_; }
  FakeMachine& machine() { return machine_; }

 private:
  struct Pending {
    uint16_t head;
    GuestAddress answer;
    uint32_t answer_bytes;
  };
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  FakeMachine machine_{64 << 20};
  UniqueFd file_;
  std::unique_ptr<VirtioDevice> device_;
  std::vector<Pending> pending_;
};

class BlkTest : public ::testing::TestWithParam<bool> {
 protected:
  const std::string content_ = RandomText(kDiskBytes, 1);
  BlkFixture disk_{GetParam(), content_};
};

INSTANTIATE_TEST_SUITE_P(Engines, BlkTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Uring" : "SystemCalls"; });

TEST_P(BlkTest, ConfigurationTellsTheCapacity) {
  virtio_blk_config config;

  disk_.device().ReadConfig(0, std::as_writable_bytes(std::span(&config, 1)));

  EXPECT_EQ(config.capacity, kSectors);
  EXPECT_EQ(config.blk_size, 512u);
  EXPECT_EQ(config.seg_max, Blk::kQueueSize - 2u);
}

TEST_P(BlkTest, ReadGivesTheFilesBytes) {
  const auto answer = disk_.Do(VIRTIO_BLK_T_IN, 3, {}, 1 << 20);

  EXPECT_EQ(answer.status, VIRTIO_BLK_S_OK);
  EXPECT_EQ(answer.used_bytes, (1u << 20) + 1);
  EXPECT_TRUE(answer.data == content_.substr(3 * 512, 1 << 20));
}

TEST_P(BlkTest, WriteReachesTheFileAndNoMore) {
  const std::string data = RandomText(8192, 2);

  const auto answer = disk_.Do(VIRTIO_BLK_T_OUT, 16, data);

  EXPECT_EQ(answer.status, VIRTIO_BLK_S_OK);
  EXPECT_EQ(answer.used_bytes, 1u);
  EXPECT_TRUE(disk_.FileContent(0, kDiskBytes) ==
              content_.substr(0, 16 * 512) + data + content_.substr(16 * 512 + data.size()));
}

TEST_P(BlkTest, WritesWithoutTheFlushFeatureAreDurable) {
  disk_.Activate(kCommonFeatures);

  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_OUT, 0, RandomText(512, 3)).status, VIRTIO_BLK_S_OK);
}

TEST_P(BlkTest, ManyRequestsAtOnceAllComeBackRight) {
  for (uint32_t i = 0; i < 120; ++i) disk_.Send(VIRTIO_BLK_T_OUT, i * 32, RandomText(16384, i), 0);
  disk_.Notify();
  for (uint32_t i = 0; i < 120; ++i) EXPECT_EQ(disk_.Receive().status, VIRTIO_BLK_S_OK);

  for (uint32_t i = 0; i < 120; ++i) {
    const auto answer = disk_.Do(VIRTIO_BLK_T_IN, i * 32, {}, 16384);
    EXPECT_TRUE(answer.data == RandomText(16384, i)) << i;
  }
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_FLUSH, 0).status, VIRTIO_BLK_S_OK);
}

TEST_P(BlkTest, SerialIsTold) {
  const auto answer = disk_.Do(VIRTIO_BLK_T_GET_ID, 0, {}, VIRTIO_BLK_ID_BYTES);

  EXPECT_EQ(answer.status, VIRTIO_BLK_S_OK);
  EXPECT_STREQ(answer.data.c_str(), "root");
}

TEST_P(BlkTest, WriteZeroesLeavesZeroes) {
  const auto answer = disk_.DoRange(VIRTIO_BLK_T_WRITE_ZEROES, 8, 16);

  EXPECT_EQ(answer.status, VIRTIO_BLK_S_OK);
  EXPECT_TRUE(disk_.FileContent(8 * 512, 16 * 512) == std::string(16 * 512, '\0'));
  EXPECT_TRUE(disk_.FileContent(24 * 512, 512) == content_.substr(24 * 512, 512));
}

TEST_P(BlkTest, WriteZeroesWithUnmapLeavesZeroes) {
  const auto answer = disk_.DoRange(VIRTIO_BLK_T_WRITE_ZEROES, 8, 16, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);

  EXPECT_EQ(answer.status, VIRTIO_BLK_S_OK);
  EXPECT_TRUE(disk_.FileContent(8 * 512, 16 * 512) == std::string(16 * 512, '\0'));
}

TEST_P(BlkTest, DiscardIsTaken) {
  EXPECT_EQ(disk_.DoRange(VIRTIO_BLK_T_DISCARD, 8, 16).status, VIRTIO_BLK_S_OK);
}

TEST_P(BlkTest, RequestsBeyondTheDiskFail) {
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, kSectors, {}, 512).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, kSectors - 1, {}, 1024).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_OUT, UINT64_MAX, RandomText(512, 1)).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_OUT, UINT64_MAX / 512 + 1, RandomText(512, 1)).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.DoRange(VIRTIO_BLK_T_DISCARD, kSectors - 8, 16).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.DoRange(VIRTIO_BLK_T_WRITE_ZEROES, UINT64_MAX, 2).status, VIRTIO_BLK_S_IOERR);
  EXPECT_TRUE(disk_.FileContent(0, kDiskBytes) == content_);
}

TEST_P(BlkTest, MalformedRequestsAreAnswered) {
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 0, {}, 511).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 0, {}, 0).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_OUT, 0, "short").status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_GET_ID, 0, {}, 4).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_DISCARD, 0, "no range").status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.DoRange(VIRTIO_BLK_T_DISCARD, 8, 16, 1).status, VIRTIO_BLK_S_UNSUPP);
  EXPECT_EQ(disk_.DoRange(VIRTIO_BLK_T_WRITE_ZEROES, 8, 16, 2).status, VIRTIO_BLK_S_UNSUPP);
  EXPECT_EQ(disk_.DoRange(VIRTIO_BLK_T_DISCARD, 8, 0).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(77, 0, {}, 512).status, VIRTIO_BLK_S_UNSUPP);
}

TEST_P(BlkTest, ShortHeaderIsAnIoError) {
  const std::array<FakeQueue::Buffer, 2> buffers = {
      {{disk_.machine().Place("0123456"), 7, false}, {disk_.machine().Place("?"), 1, true}}};
  disk_.machine().queues[0].Add(buffers);

  disk_.Notify();

  EXPECT_TRUE(disk_.machine().queues[0].TakeUsed().has_value());
  EXPECT_EQ(disk_.machine().Text(buffers[1].address, 1)[0], VIRTIO_BLK_S_IOERR);
}

TEST_P(BlkTest, RequestWithoutAStatusByteNeedsAReset) {
  const std::array<FakeQueue::Buffer, 1> buffers = {{{disk_.machine().Place("0123456789abcdef"), 16, false}}};
  disk_.machine().queues[0].Add(buffers);

  disk_.Notify();

  ASSERT_EQ(disk_.machine().interrupt.needs_reset.size(), 1u);
  EXPECT_THAT(disk_.machine().interrupt.needs_reset[0], HasSubstr("without a place for its status"));
}

TEST_P(BlkTest, FileThatBecameShorterIsAnIoError) {
  ASSERT_EQ(::ftruncate(disk_.file(), 4096), 0);

  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 4, {}, 8192).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 4, {}, 2048).status, VIRTIO_BLK_S_OK);
}

TEST_P(BlkTest, ResetWithRequestsInFlightWaitsAndStartsAfresh) {
  for (uint32_t i = 0; i < 64; ++i) disk_.Send(VIRTIO_BLK_T_IN, i * 32, {}, 16384);
  disk_.Notify();

  disk_.Activate(disk_.device().OfferedFeatures());

  EXPECT_TRUE(disk_.Do(VIRTIO_BLK_T_IN, 0, {}, 512).data == content_.substr(0, 512));
}

TEST_P(BlkTest, NotifyAfterResetIsHarmless) {
  disk_.device().Reset();
  disk_.Notify();
}

TEST_P(BlkTest, LongTransferGoesInParts) {
  EXPECT_TRUE(disk_.Do(VIRTIO_BLK_T_IN, 0, {}, kDiskBytes).data == content_);
}

TEST_P(BlkTest, DisabledQueueHasNothingToDo) {
  disk_.machine().ActivateDisabled(disk_.device());

  EXPECT_FALSE(disk_.device().OnQueueNotify(0));
}

// System calls make a queue of parts in one round, and this is two.
TEST(BlkUringTest, ResetDoesNotWaitForTheRestOfALongTransfer) {
  BlkFixture disk(true, RandomText(kDiskBytes, 1));
  disk.Send(VIRTIO_BLK_T_IN, 0, {}, kDiskBytes);
  {
    std::lock_guard lock(disk.device().mutex());
    disk.device().OnQueueNotify(0);
    disk.device().Reset();
  }

  EXPECT_LT(disk.Counter("read_bytes"), kDiskBytes);
}

TEST(BlkReadOnlyTest, RefusesAllThatWrites) {
  const std::string content = RandomText(65536, 1);
  BlkFixture disk(true, content, /*read_only=*/true);

  EXPECT_EQ(disk.device().OfferedFeatures() & (1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_RO),
            1u << VIRTIO_BLK_F_RO);
  EXPECT_EQ(disk.Do(VIRTIO_BLK_T_OUT, 0, RandomText(512, 3)).status, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk.DoRange(VIRTIO_BLK_T_DISCARD, 8, 16).status, VIRTIO_BLK_S_UNSUPP);
  EXPECT_EQ(disk.DoRange(VIRTIO_BLK_T_WRITE_ZEROES, 8, 16).status, VIRTIO_BLK_S_UNSUPP);
  EXPECT_EQ(disk.Do(VIRTIO_BLK_T_FLUSH, 0).status, VIRTIO_BLK_S_OK);
  EXPECT_TRUE(disk.FileContent(0, content.size()) == content);
}

uint64_t HeldRequests(BlkFixture& disk) {
  const CounterList counters = disk.device().Counters();
  const auto held =
      std::ranges::find(counters, "held_requests", [](const auto& entry) { return entry.first; });
  return held == counters.end() ? 0 : held->second;
}

TEST(BlkLimitTest, RequestsBeyondALimitAreHeldAndAnsweredInTheirTime) {
  const std::string content = RandomText(kDiskBytes, 1);
  for (const IoLimits& limits :
       {IoLimits{.read_bytes_per_s = 4 << 20}, IoLimits{.read_operations_per_s = 1000}}) {
    BlkFixture disk(true, content, /*read_only=*/true, limits);

    for (uint32_t i = 0; i < 80; ++i) disk.Send(VIRTIO_BLK_T_IN, i * 16, {}, 8192);
    disk.Notify();

    EXPECT_GT(HeldRequests(disk), 0u);
    std::set<size_t> places;
    for (uint32_t i = 0; i < 80; ++i) {
      const auto answer = disk.Receive();
      EXPECT_EQ(answer.status, VIRTIO_BLK_S_OK);
      places.insert(content.find(answer.data));
    }
    EXPECT_EQ(places.size(), 80u);
    EXPECT_EQ(*places.rbegin(), 79u * 8192);
  }
}

TEST(BlkLimitTest, OneDirectionDoesNotWaitForTheOther) {
  BlkFixture disk(false, RandomText(kDiskBytes, 1), /*read_only=*/false, {.read_operations_per_s = 1});
  for (uint32_t i = 0; i < 5; ++i) disk.Send(VIRTIO_BLK_T_IN, i, {}, 512);
  disk.Send(VIRTIO_BLK_T_OUT, 0, RandomText(512, 2), 0);

  disk.Notify();

  // A read and the write, in either order.
  const size_t read_bytes = disk.Receive().data.size() + disk.Receive().data.size();
  EXPECT_EQ(read_bytes, 512u);
  EXPECT_EQ(HeldRequests(disk), 4u);
}

TEST(BlkLimitTest, ResetDropsWhatIsHeld) {
  BlkFixture disk(true, RandomText(kDiskBytes, 1), /*read_only=*/false, {.write_operations_per_s = 1});
  for (uint32_t i = 0; i < 5; ++i) disk.Send(VIRTIO_BLK_T_OUT, i, RandomText(512, 2), 0);
  disk.Notify();

  disk.Activate(disk.device().OfferedFeatures());

  EXPECT_EQ(disk.Do(VIRTIO_BLK_T_IN, 8, {}, 512).status, VIRTIO_BLK_S_OK);
  EXPECT_FALSE(disk.machine().queues[0].TakeUsed().has_value());
}

TEST(BlkCreateTest, EmptyFileIsRefused) {
  const auto loop = *EventLoop::Create();

  const auto device =
      Blk::Create({.name = "blk0", .file = MakeFile("tiny"), .read_only = true, .serial = ""}, *loop);

  ASSERT_FALSE(device.has_value());
  EXPECT_THAT(device.error().what, HasSubstr("blk0 is empty"));
}

TEST(BlkCreateTest, DeviceOutlivedByItsLoop) {
  const auto loop = *EventLoop::Create();

  EXPECT_TRUE(
      Blk::Create({.name = "blk0", .file = MakeFile(RandomText(4096, 1)), .read_only = true, .serial = ""},
                  *loop)
          .has_value());
}

TEST(BlkEmptyDriveTest, HasNoSectors) {
  const auto loop = *EventLoop::Create();

  const auto drive = Blk::Create({.name = "blk0", .file = {}, .read_only = true, .serial = "blk0"}, *loop);

  ASSERT_TRUE(drive.has_value());
  virtio_blk_config config;
  (*drive)->ReadConfig(0, std::as_writable_bytes(std::span(&config, 1)));
  EXPECT_EQ(config.capacity, 0u);
}

}  // namespace
}  // namespace hmvm
