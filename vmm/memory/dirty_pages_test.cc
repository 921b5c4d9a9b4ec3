#include "vmm/memory/dirty_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kRamPages = 100;

// A guest of the test's hand.
class FakeLog final : public GuestWriteLog {
 public:
  Result<> TurnOn() override {
    on = true;
    return {};
  }
  Result<> TurnOff() override {
    on = false;
    return {};
  }
  Result<> Collect(size_t index, std::span<uint64_t> bits) override {
    if (broken) return Error{EIO, "log"};
    for (const uint64_t page : written[index]) bits[page / 64] |= 1ull << page % 64;
    written[index].clear();
    return {};
  }

  bool on = false;
  bool broken = false;
  std::vector<uint64_t> written[2];
};

class DirtyPagesTest : public testing::Test {
 protected:
  DirtyPagesTest() {
    std::vector<MemoryArea> areas(ram_.regions().begin(), ram_.regions().end());
    areas.push_back({GuestAddress{kPlatformWindowStart}, window_.bytes()});
    auto log = std::make_unique<FakeLog>();
    log_ = log.get();
    dirty_ = std::make_unique<DirtyPages>(&ram_, areas, std::move(log),
                                          [this](OwnWrites& places) { places = own_writes_; });
  }
  PageRuns Collect() {
    PageBitmap pages(dirty_->total_pages());
    const auto collected = dirty_->CollectInto(pages);
    EXPECT_TRUE(collected.has_value()) << collected.error().Message();
    return pages.Runs();
  }

  GuestMemory ram_ = GuestMemory::Create(kRamPages * kPageBytes).value();
  Mapping window_ = Mapping::Anonymous(64 * kPageBytes).value();
  OwnWrites own_writes_;
  FakeLog* log_;
  std::unique_ptr<DirtyPages> dirty_;
};

TEST_F(DirtyPagesTest, GuestsAndOwnWritesAreUnited) {
  ASSERT_TRUE(dirty_->Start().has_value());

  log_->written[0] = {1, 2, 99};
  log_->written[1] = {0, 63};
  ASSERT_TRUE(ram_.Write<uint64_t>(GuestAddress{3 * kPageBytes}, 7).has_value());

  EXPECT_THAT(Collect().runs(), ElementsAre(PageRun{1, 3}, PageRun{99, 2}, PageRun{163, 1}));
  EXPECT_THAT(Collect().runs(), IsEmpty());
}

TEST_F(DirtyPagesTest, PlacesWithoutMarksAreToldEachTime) {
  own_writes_ = {std::span(ram_.Slice(GuestAddress{5 * kPageBytes + 4090}, 16).value()),
                 window_.bytes().subspan(8, 1)};
  ASSERT_TRUE(dirty_->Start().has_value());

  EXPECT_THAT(Collect().runs(), ElementsAre(PageRun{5, 2}, PageRun{100, 1}));
  EXPECT_THAT(Collect().runs(), ElementsAre(PageRun{5, 2}, PageRun{100, 1}));
}

TEST_F(DirtyPagesTest, NotTrackingNothingCanBeCollected) {
  PageBitmap pages(dirty_->total_pages());
  EXPECT_FALSE(dirty_->CollectInto(pages).has_value());

  ASSERT_TRUE(dirty_->Start().has_value());
  ASSERT_TRUE(dirty_->Stop().has_value());

  EXPECT_FALSE(log_->on);
  EXPECT_FALSE(dirty_->CollectInto(pages).has_value());
}

TEST_F(DirtyPagesTest, LogThatFailsEndsTheTracking) {
  ASSERT_TRUE(dirty_->Start().has_value());
  log_->broken = true;
  PageBitmap pages(dirty_->total_pages());

  EXPECT_FALSE(dirty_->CollectInto(pages).has_value());

  EXPECT_FALSE(dirty_->tracking());
  EXPECT_FALSE(log_->on);
}

}  // namespace
}  // namespace hmvm
