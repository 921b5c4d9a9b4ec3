// Templates as `run` builds, uses and mistrusts them.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/testing/hmvm_fixture.h"

namespace hmvm {
namespace {

using testing::HasSubstr;

TEST_F(HmvmTest, FirstRunBuildsATemplateAndTheNextUsesIt) {
  Must({"run", "--rm", "-m", "300m", "busybox", "true"});
  const std::string built = Must({"template", "ls", "-q"});

  Must({"run", "--rm", "-m", "300m", "busybox", "true"});
  Must({"run", "--rm", "-m", "301m", "--no-template", "busybox", "true"});

  EXPECT_EQ(Must({"template", "ls", "-q"}), built);
  EXPECT_EQ(Shell("$hmvm template rm $($hmvm template ls -q)").exit_code, 0);
  EXPECT_EQ(Must({"template", "ls", "-q"}), "");
  EXPECT_EQ(Hmvm({"template", "rm", "0123"}).exit_code, 125);
}

TEST_F(HmvmTest, DamagedTemplateIsToldRemovedAndBuiltAgain) {
  const std::string id = Must({"template", "build"}).substr(0, 32);
  std::ofstream(dir_ / "root/templates" / id / "machine.pb") << "damaged";

  const CommandResult damaged = Hmvm({"run", "--rm", "busybox", "echo", "hi"});
  const std::string left = Must({"template", "ls", "-q"});
  const std::string next = Must({"run", "--rm", "busybox", "echo", "hi"});

  EXPECT_EQ(damaged.exit_code, 0);
  EXPECT_THAT(damaged.output, testing::AllOf(HasSubstr("hi\n"), HasSubstr("template was of no use"),
                                             HasSubstr("it is damaged"), HasSubstr("machine.pb")));
  EXPECT_EQ(left, "");
  EXPECT_EQ(next, "hi\n");
}

}  // namespace
}  // namespace hmvm
