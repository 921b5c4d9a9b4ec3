#include "vmm/memory/touched_pages.h"

#include <sys/mman.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;

TEST(TouchedPagesTest, PagesWrittenToAreToldAndNoOthers) {
  const GuestMemory memory = GuestMemory::Create(20000 * kPageBytes).value();
  ASSERT_EQ(::madvise(memory.regions()[0].host.data(), memory.size_bytes(), MADV_NOHUGEPAGE), 0);
  for (const uint64_t page : {0, 1, 9000, 19999}) {
    ASSERT_TRUE(memory.Write<uint8_t>(GuestAddress{page * kPageBytes}, 1).has_value());
  }
  PageBitmap pages(20000);

  const auto collected = TouchedPages::Open().value().CollectInto(memory.regions(), pages);

  ASSERT_TRUE(collected.has_value()) << collected.error().Message();
  EXPECT_THAT(pages.Runs().runs(), ElementsAre(PageRun{0, 2}, PageRun{9000, 1}, PageRun{19999, 1}));
}

}  // namespace
}  // namespace hmvm
