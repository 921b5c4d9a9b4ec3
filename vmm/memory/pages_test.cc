#include "vmm/memory/pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(PageRunsTest, WhatContinuesTheLastRunMakesItLonger) {
  PageRuns runs;

  runs.Append({2, 3});
  runs.Append({5, 1});
  runs.Append({6, 0});
  runs.Append({9, 1});

  EXPECT_THAT(runs.runs(), ElementsAre(PageRun{2, 4}, PageRun{9, 1}));
  EXPECT_EQ(runs.TotalPages(), 5u);
}

TEST(PageRunsTest, WithoutCutsAtBothEndsAndInTheMiddle) {
  const PageRun runs[] = {{0, 10}, {20, 10}, {40, 2}};
  const PageRun taken[] = {{0, 1}, {4, 2}, {8, 14}, {29, 20}};

  EXPECT_THAT(PageRuns::Without(runs, taken).runs(),
              ElementsAre(PageRun{1, 3}, PageRun{6, 2}, PageRun{22, 7}));
}

TEST(PageRunsTest, WithoutNothingIsTheSameAndWithoutAllIsEmpty) {
  const PageRun runs[] = {{3, 4}, {9, 1}};

  EXPECT_THAT(PageRuns::Without(runs, {}).runs(), ElementsAre(PageRun{3, 4}, PageRun{9, 1}));
  EXPECT_THAT(PageRuns::Without(runs, runs).runs(), IsEmpty());
}

TEST(PageRunsTest, UnionJoinsWhatMeetsAndOverlaps) {
  const PageRun one[] = {{0, 2}, {10, 5}, {30, 1}};
  const PageRun other[] = {{2, 1}, {8, 20}, {40, 1}};

  EXPECT_THAT(PageRuns::Union(one, other).runs(),
              ElementsAre(PageRun{0, 3}, PageRun{8, 20}, PageRun{30, 1}, PageRun{40, 1}));
}

TEST(VisitPagesTest, RunAcrossAreasComesInParts) {
  const GuestMemory memory = GuestMemory::Create(kLowRamEnd + 8 * kPageBytes).value();
  constexpr uint64_t kLowPages = kLowRamEnd / kPageBytes;
  std::vector<PageRun> parts;

  const auto visited = VisitPages(memory.regions(), {kLowPages - 1, 3},
                                  [&](std::span<std::byte> host, uint64_t first) -> Result<> {
                                    parts.push_back({first, host.size() / kPageBytes});
                                    return {};
                                  });

  ASSERT_TRUE(visited.has_value());
  EXPECT_THAT(parts, ElementsAre(PageRun{kLowPages - 1, 1}, PageRun{kLowPages, 2}));
}

}  // namespace
}  // namespace hmvm
