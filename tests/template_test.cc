// Containers that start from templates: that they do, that no two are alike, and that a broken template hurts
// nobody.
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class TemplateTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    fs::remove_all(sandbox_->root() / "templates");
  }
  void TearDown() override {
    if (sandbox_ == nullptr) return;
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }
  static nlohmann::json Templates() {
    return nlohmann::json::parse(sandbox_->MustHmvm({"template", "ls", "--format", "json"}));
  }
  static bool HasDraft() {
    std::error_code none;
    for (const fs::directory_entry& entry : fs::directory_iterator(sandbox_->root() / "templates", none)) {
      if (entry.path().filename().string().starts_with(".draft-")) return true;
    }
    return false;
  }
  static fs::path TemplateFolder() {
    return sandbox_->root() / "templates" / Templates()[0]["id"].get<std::string>();
  }
};

TEST_F(TemplateTest, NoTwoContainersOfATemplateAreAlike) {
  constexpr size_t kRestores = 20;
  constexpr char kIdentity[] =
      "head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '; cat /proc/sys/kernel/random/uuid; "
      "cat /proc/sys/kernel/random/boot_id; hostname; cat /etc/machine-id";
  constexpr size_t kLines = 5;
  sandbox_->MustHmvm({"template", "build"});
  std::set<std::string> seen;

  for (size_t i = 0; i < kRestores; ++i) {
    std::istringstream lines(sandbox_->MustHmvm({"run", "--rm", "busybox", "sh", "-c", kIdentity}));
    for (std::string line; std::getline(lines, line);) seen.insert(line);
  }

  EXPECT_EQ(seen.size(), kRestores * kLines);
  EXPECT_EQ(Templates().size(), 1u);
}

TEST_F(TemplateTest, EachSizeHasItsOwnAndTheGuestHasWhatWasAskedFor) {
  const std::string line = "nproc; awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo";
  std::string first, second;
  for (std::string* output : {&first, &second}) {
    *output = RunContainer({"--cpus", "2", "-m", "192m"}, {"sh", "-c", line}).out;
  }
  const std::string booted =
      RunContainer({"--cpus", "2", "-m", "192m", "--no-template"}, {"sh", "-c", line}).out;

  EXPECT_EQ(first, booted);
  EXPECT_EQ(second, booted);
  ASSERT_EQ(Templates().size(), 1u);
  EXPECT_EQ(Templates()[0]["cpus"], 2);
  EXPECT_EQ(Templates()[0]["memory_mib"], 192);
}

TEST_F(TemplateTest, DamagedMemoryIsToldAndTheNextRunHasATemplateAgain) {
  sandbox_->MustHmvm({"template", "build"});
  std::fstream memory(TemplateFolder() / "memory", std::ios::in | std::ios::out | std::ios::binary);
  memory.seekp(9 << 20);
  memory << "not what was there";
  memory.close();

  const Outcome damaged = RunContainer({}, {"echo", "hi"});
  const Outcome next = RunContainer({}, {"echo", "hi"});

  EXPECT_EQ(damaged.exit_code, 0) << Describe(damaged);
  EXPECT_EQ(damaged.out, "hi\n");
  EXPECT_THAT(damaged.err, HasSubstr("template was of no use"));
  EXPECT_EQ(next.out, "hi\n");
  EXPECT_EQ(next.err, "");
  EXPECT_EQ(Templates().size(), 1u);
}

TEST_F(TemplateTest, AChangedKernelIsBootedAnewAndTheOldTemplateGoes) {
  const fs::path kernel = sandbox_->dir() / "vmlinux";
  fs::copy_file(GuestKernel(), kernel);
  EXPECT_EQ(RunContainer({"--kernel", kernel}, {"true"}).exit_code, 0);
  const std::string before = Templates()[0]["id"];

  fs::remove(kernel);
  fs::copy_file(GuestKernel(), kernel);
  const bool stale = Templates()[0]["stale"];
  EXPECT_EQ(RunContainer({"--kernel", kernel}, {"true"}).exit_code, 0);

  EXPECT_TRUE(stale);
  ASSERT_EQ(Templates().size(), 1u);
  EXPECT_NE(Templates()[0]["id"], before);
}

TEST_F(TemplateTest, ABuilderThatIsKilledLeavesNothingInTheWay) {
  for (int i = 0; i < 5; ++i) {
    Child builder(sandbox_->Command({"template", "build"}));
    WaitUntil(HasDraft);
    builder.Signal(SIGKILL);
    builder.Wait();
    EXPECT_TRUE(Templates().empty());
  }

  EXPECT_EQ(RunContainer({}, {"echo", "hi"}).out, "hi\n");

  EXPECT_EQ(Templates().size(), 1u);
  EXPECT_FALSE(HasDraft());
}

TEST_F(TemplateTest, ARunWithoutTemplateMakesNone) {
  EXPECT_EQ(RunContainer({"--no-template"}, {"echo", "hi"}).out, "hi\n");

  EXPECT_TRUE(Templates().empty());
}

}  // namespace
}  // namespace hmvm::test
