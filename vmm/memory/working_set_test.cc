#include "vmm/memory/working_set.h"

#include <sys/mman.h>

#include <gtest/gtest.h>

#include "base/mapping.h"
#include "base/unique_fd.h"

namespace hmvm {
namespace {

constexpr uint64_t kPages = 4096;

// Memory that is mapped privately from a file of sevens.
class WorkingSetTest : public testing::Test {
 protected:
  void SetUp() override {
    file_ = UniqueFd(::memfd_create("memory", MFD_CLOEXEC));
    const std::vector<std::byte> content(kPages * kPageBytes, std::byte{7});
    ASSERT_EQ(::pwrite(file_.get(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    memory_ = Mapping::OfFile(file_.get(), kPages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE).value();
    areas_ = {{GuestAddress{0}, memory_.bytes()}};
  }
  PageRuns Collected() const { return CollectWorkingSet(TouchedPages::Open().value(), areas_).value(); }

  UniqueFd file_;
  Mapping memory_;
  std::vector<MemoryArea> areas_;
};

TEST_F(WorkingSetTest, WhatIsWrittenToIsItAndWhatIsReadIsNot) {
  EXPECT_EQ(memory_.bytes()[5 * kPageBytes], std::byte{7});
  memory_.bytes()[9 * kPageBytes] = std::byte{1};
  memory_.bytes()[10 * kPageBytes] = std::byte{1};

  const PageRuns pages = Collected();

  ASSERT_EQ(pages.runs().size(), 1u);
  EXPECT_EQ(pages.runs()[0], (PageRun{9, 2}));
}

TEST_F(WorkingSetTest, WhatIsPreparedIsTheMachinesOwnAndTheSame) {
  const PageRun pages[] = {{3, 2}, {100, 1}};
  PrepareWorkingSet(pages, areas_);

  EXPECT_EQ(Collected().TotalPages(), 3u);
  EXPECT_EQ(memory_.bytes()[4 * kPageBytes], std::byte{7});
}

TEST_F(WorkingSetTest, NonsenseAndTooMuchIsLeftOut) {
  const PageRun beyond[] = {{1, 1}, {kPages, 5}, {2, 1}};
  PrepareWorkingSet(beyond, areas_);
  EXPECT_EQ(Collected().TotalPages(), 1u);
  const PageRun endless[] = {{2, UINT64_MAX}};
  PrepareWorkingSet(endless, areas_);
  EXPECT_EQ(Collected().TotalPages(), 1u);

  for (uint64_t page = 0; page <= kMaxWorkingSetPages; ++page)
    memory_.bytes()[page * kPageBytes] = std::byte{1};
  EXPECT_EQ(CollectWorkingSet(TouchedPages::Open().value(), areas_).error().code, EFBIG);
}

}  // namespace
}  // namespace hmvm
