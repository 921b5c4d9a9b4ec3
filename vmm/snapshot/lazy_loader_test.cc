#include "vmm/snapshot/lazy_loader.h"

#include <sys/mman.h>
#include <unistd.h>

#include <future>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "vmm/snapshot/memory_writer.h"

namespace hmvm {
namespace {

using testing::HasSubstr;

constexpr uint64_t kPages = 2048;

class LazyLoaderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::minstd_rand random(1);
    for (uint64_t page = 0; page < kPages; ++page) {
      if (page / 100 % 3 == 2) continue;  // zero
      for (std::byte& byte : Page(original_, page)) byte = static_cast<std::byte>(random());
    }
    const UniqueFd memory(::memfd_create("memory", MFD_CLOEXEC));
    MemoryMap map(original_.regions());
    MemoryWriter writer = MemoryWriter::Create(original_.regions(), memory.get(), "memory").value();
    ASSERT_TRUE(writer.Write({0, kPages}).has_value());
    writer.AddTo(map);
    ASSERT_TRUE(WriteArchive(packed_.get(), "web.zst", {}, map, original_.regions()).has_value());
  }

  // Starts loading; skips the test where the host does not let us.
  std::unique_ptr<LazyLoader> Start() {
    auto userfaultfd = LazyLoader::OpenUserfaultfd();
    if (!userfaultfd.has_value()) {
      EXPECT_TRUE(userfaultfd.error().code == EPERM || userfaultfd.error().code == ENOSYS)
          << userfaultfd.error().Message();
      return nullptr;
    }
    return LazyLoader::Start(
               Archive::Open(packed_.get(), "web.zst").value(), std::move(*userfaultfd), restored_.regions(),
               [] { return Result<>(); }, [this](Error error) { error_.set_value(std::move(error)); })
        .value();
  }

  static std::span<std::byte> Page(const GuestMemory& memory, uint64_t page) {
    return memory.Slice(GuestAddress{page * kPageBytes}, kPageBytes).value();
  }
  bool SamePage(uint64_t page) const {
    return std::ranges::equal(Page(original_, page), Page(restored_, page));
  }

  GuestMemory original_ = GuestMemory::Create(kPages * kPageBytes).value();
  GuestMemory restored_ = GuestMemory::Create(kPages * kPageBytes).value();
  UniqueFd packed_{::memfd_create("packed", MFD_CLOEXEC)};
  std::promise<Error> error_;
};

TEST_F(LazyLoaderTest, WhoeverTouchesAPageFindsItThere) {
  const auto loader = Start();
  if (!loader) GTEST_SKIP() << "no userfaultfd for us";
  std::vector<std::future<int>> readers;

  for (uint32_t reader = 0; reader < 3; ++reader) {
    readers.push_back(std::async(std::launch::async, [this, reader] {
      std::minstd_rand random(reader + 5);
      int wrong = 0;
      for (int i = 0; i < 2000; ++i) wrong += SamePage(random() % kPages) ? 0 : 1;
      return wrong;
    }));
  }

  for (auto& reader : readers) EXPECT_EQ(reader.get(), 0);
  for (uint64_t page = 0; page < kPages; ++page) EXPECT_TRUE(SamePage(page)) << page;
}

TEST_F(LazyLoaderTest, LastPageIsThereBeforeTheRest) {
  const auto loader = Start();
  if (!loader) GTEST_SKIP() << "no userfaultfd for us";

  EXPECT_TRUE(SamePage(1999));

  EXPECT_LE(loader->faulted_frames(), 1u);  // 0: the loader's own order was faster
}

TEST_F(LazyLoaderTest, PageGivenBackIsZeroAndNotTheOldOne) {
  const auto loader = Start();
  if (!loader) GTEST_SKIP() << "no userfaultfd for us";
  ASSERT_TRUE(SamePage(7));

  ASSERT_EQ(::madvise(Page(restored_, 7).data(), kPageBytes, MADV_DONTNEED), 0);

  EXPECT_EQ(Page(restored_, 7)[0], std::byte{0});
}

TEST_F(LazyLoaderTest, DamagedFrameIsToldAndItsPagesAreNotMadeUp) {
  const uint64_t middle = FileSize(packed_.get(), "packed").value() / 2;
  const uint64_t wrong = 0x1234567890;
  ASSERT_EQ(::pwrite(packed_.get(), &wrong, sizeof(wrong), static_cast<off_t>(middle)),
            static_cast<ssize_t>(sizeof(wrong)));
  auto loader = Start();
  if (!loader) GTEST_SKIP() << "no userfaultfd for us";

  const Error error = error_.get_future().get();

  EXPECT_THAT(error.what, HasSubstr("'web.zst' is corrupt"));
  EXPECT_LT(loader->loaded_frames(), 64u);
}

}  // namespace
}  // namespace hmvm
