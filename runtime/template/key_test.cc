#include "runtime/template/key.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

class TemplateKeyTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "template-key.XXXXXX";
    folder_ = ::mkdtemp(name.data());
    for (const char* name : {"vmm", "kernel", "initramfs"}) {
      ASSERT_TRUE(WriteFileAtomic(Path(name), "content").has_value());
    }
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  TemplateMachine SmallMachine() const {
    return {.vmm_program = Path("vmm"),
            .kernel = Path("kernel"),
            .initramfs = Path("initramfs"),
            .platform = "auto",
            .cpus = 1,
            .memory_mib = 128};
  }
  static std::string IdOf(const TemplateMachine& machine) { return MakeTemplateKey(machine).value().id; }

 private:
  std::string folder_;
};

TEST_F(TemplateKeyTest, SameMachineHasTheSameKey) {
  EXPECT_EQ(IdOf(SmallMachine()), IdOf(SmallMachine()));
  EXPECT_EQ(IdOf(SmallMachine()).size(), 32u);
}

TEST_F(TemplateKeyTest, SizesGrowFromOneMachineButForTheSmallest) {
  TemplateMachine usual = SmallMachine(), large = SmallMachine(), wide = SmallMachine();
  usual.memory_mib = 256;
  large.memory_mib = 300;
  wide.memory_mib = 256;
  wide.cpus = 1000;

  const TemplateMachine machine = GrowingMachine(usual).value();

  EXPECT_TRUE(machine.grows);
  EXPECT_NE(IdOf(machine), IdOf(usual));
  EXPECT_EQ(GrowingMachine(large), machine);
  EXPECT_EQ(GrowingMachine(SmallMachine()), std::nullopt);
  EXPECT_EQ(GrowingMachine(wide), std::nullopt);
}

TEST_F(TemplateKeyTest, EveryPartOfTheMachineCounts) {
  const std::string id = IdOf(SmallMachine());
  TemplateMachine cpus = SmallMachine(), memory = SmallMachine(), platform = SmallMachine(),
                  kernel = SmallMachine();
  cpus.cpus = 2;
  memory.memory_mib = 256;
  platform.platform = "ring3";
  kernel.kernel = Path("initramfs");

  for (const TemplateMachine& other : {cpus, memory, platform, kernel}) EXPECT_NE(IdOf(other), id);
}

TEST_F(TemplateKeyTest, ReplacedFileMakesAnotherKeyThoughItsContentIsTheSame) {
  const std::string id = IdOf(SmallMachine());

  ASSERT_TRUE(WriteFileAtomic(Path("kernel"), "content").has_value());

  EXPECT_NE(IdOf(SmallMachine()), id);
}

TEST_F(TemplateKeyTest, MissingFileIsNamed) {
  TemplateMachine machine = SmallMachine();
  machine.kernel = Path("nosuch");

  const auto key = MakeTemplateKey(machine);

  ASSERT_FALSE(key.has_value());
  EXPECT_EQ(key.error().code, ENOENT);
  EXPECT_NE(key.error().what.find("nosuch"), std::string::npos);
}

}  // namespace
}  // namespace hmvm
