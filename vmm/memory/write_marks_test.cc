#include "vmm/memory/write_marks.h"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kPages = 100;

class WriteMarksTest : public testing::Test {
 protected:
  PageRuns Collect() {
    PageBitmap pages(kPages);
    marks_.CollectInto(pages, kPages, 0);
    return pages.Runs();
  }

  Mapping memory_ = Mapping::Anonymous(kPages * kPageBytes).value();
  WriteMarks marks_{memory_.bytes()};
};

TEST_F(WriteMarksTest, EveryPageThatIsTouchedIsToldOnce) {
  ASSERT_TRUE(marks_.TurnOn().has_value());

  marks_.Mark(memory_.data() + 3 * kPageBytes + 4090, 8);
  marks_.Mark(memory_.data() + 70 * kPageBytes, 1);

  EXPECT_THAT(Collect().runs(), ElementsAre(PageRun{3, 2}, PageRun{70, 1}));
  EXPECT_THAT(Collect().runs(), IsEmpty());
}

TEST_F(WriteMarksTest, PagesBehindAGapAreToldBehindIt) {
  ASSERT_TRUE(marks_.TurnOn().has_value());
  marks_.Mark(memory_.data() + 68 * kPageBytes, 5 * kPageBytes);
  marks_.Mark(memory_.data() + 3 * kPageBytes, 1);

  PageBitmap pages(kPages + 200);
  marks_.CollectInto(pages, 70, 200);

  EXPECT_THAT(pages.Runs().runs(), ElementsAre(PageRun{3, 1}, PageRun{68, 2}, PageRun{270, 3}));
}

TEST_F(WriteMarksTest, OffNothingIsKept) {
  marks_.Mark(memory_.data(), 1);
  ASSERT_TRUE(marks_.TurnOn().has_value());
  marks_.Mark(memory_.data() + kPageBytes, 1);
  marks_.TurnOff();
  ASSERT_TRUE(marks_.TurnOn().has_value());

  EXPECT_THAT(Collect().runs(), IsEmpty());
}

TEST_F(WriteMarksTest, PlacesOutsideAreLeftOutAndLengthsEndWithTheMemory) {
  ASSERT_TRUE(marks_.TurnOn().has_value());

  marks_.Mark(memory_.data() - 8, 16);
  marks_.Mark(memory_.data() + kPages * kPageBytes, 1);
  marks_.Mark(memory_.data(), 0);
  marks_.Mark(memory_.data() + (kPages - 1) * kPageBytes, UINT64_MAX);

  EXPECT_THAT(Collect().runs(), ElementsAre(PageRun{kPages - 1, 1}));
}

// A writer that never stops, a collector that copies what was marked: in the end the copy is whole.
TEST_F(WriteMarksTest, NoWriteIsLostWhileOthersCollect) {
  ASSERT_TRUE(marks_.TurnOn().has_value());
  constexpr uint32_t kRounds = 20000;
  const auto place = [this](uint64_t page) {
    // SAFETY: page aligned memory of the test's own.
    return std::atomic_ref(*reinterpret_cast<uint32_t*>(memory_.data() + page * kPageBytes));
  };
  std::vector<uint32_t> copy(kPages);
  const auto copy_marked = [&] {
    PageBitmap pages(kPages);
    marks_.CollectInto(pages, kPages, 0);
    for (uint64_t page = 0; page < kPages; ++page) {
      if (pages.Has(page)) copy[page] = place(page).load(std::memory_order_relaxed);
    }
  };

  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (uint32_t round = 1; round <= kRounds; ++round) {
      const uint64_t page = round * 7 % kPages;
      place(page).store(round, std::memory_order_relaxed);
      marks_.Mark(memory_.data() + page * kPageBytes, 4);
    }
    done = true;
  });
  while (!done) copy_marked();
  writer.join();
  copy_marked();

  for (uint64_t page = 0; page < kPages; ++page) EXPECT_EQ(copy[page], place(page).load()) << page;
}

}  // namespace
}  // namespace hmvm
