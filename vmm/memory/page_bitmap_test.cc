#include "vmm/memory/page_bitmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;

TEST(PageBitmapTest, RunsGoOverTheEndsOfWords) {
  PageBitmap pages(300);

  pages.SetRun({0, 1});
  pages.SetRun({60, 200});
  pages.Set(299);

  EXPECT_THAT(pages.Runs().runs(), ElementsAre(PageRun{0, 1}, PageRun{60, 200}, PageRun{299, 1}));
  EXPECT_EQ(pages.Count(), 202u);
}

TEST(PageBitmapTest, BitsAreAddedFromAnyPageOnAndNoneBeyondTheLast) {
  PageBitmap pages(100);
  const uint64_t bits[] = {1ull << 63, UINT64_MAX};

  pages.AddBits(5, bits);

  EXPECT_THAT(pages.Runs().runs(), ElementsAre(PageRun{68, 32}));
}

TEST(PageBitmapTest, UnionAndClear) {
  PageBitmap one(10);
  PageBitmap other(10);
  one.Set(1);
  other.Set(8);

  one.Add(other);
  other.Clear();

  EXPECT_TRUE(one.Has(1) && one.Has(8) && !one.Has(2));
  EXPECT_EQ(other.Count(), 0u);
}

}  // namespace
}  // namespace hmvm
