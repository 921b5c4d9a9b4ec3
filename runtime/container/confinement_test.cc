#include "runtime/container/confinement.h"

#include <linux/capability.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/capabilities.h"
#include "base/file.h"

namespace hmvm {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The defaults of a container without a profile of its own.
constexpr auto Defaults = [] { return Confinement{.seccomp = "default"}; };

Confinement Confined(const ConfinementWishes& wishes) {
  std::vector<std::string> warnings;
  auto made = Confine(wishes, Defaults(), warnings);
  EXPECT_TRUE(made.has_value()) << made.error().Message();
  return made.value_or(Confinement());
}

std::string ErrorOf(const std::string& security_opt) {
  std::vector<std::string> warnings;
  const auto made = Confine({.security_opts = {security_opt}}, Defaults(), warnings);
  return made.has_value() ? "" : made.error().what;
}

TEST(ConfinementTest, DefaultIsDockers) {
  const Confinement made = Confined({});

  EXPECT_EQ(made.capabilities, DefaultCapabilities());
  EXPECT_EQ(made.seccomp, "default");
  EXPECT_THAT(made.seccomp_filter, Not(IsEmpty()));
  EXPECT_FALSE(made.no_new_privileges || made.open_system_paths || made.privileged);
}

TEST(ConfinementTest, PrivilegedIsUnconfined) {
  const Confinement made = Confined({.privileged = true});

  EXPECT_EQ(made.capabilities, AllCapabilities());
  EXPECT_EQ(made.seccomp, "unconfined");
  EXPECT_THAT(made.seccomp_filter, IsEmpty());
  EXPECT_TRUE(made.open_system_paths);
}

TEST(ConfinementTest, AProfileThatIsAskedForHoldsForThePrivilegedToo) {
  const Confinement made = Confined({.privileged = true, .security_opts = {"seccomp=builtin"}});

  EXPECT_EQ(made.seccomp, "default");
  EXPECT_THAT(made.seccomp_filter, Not(IsEmpty()));
}

TEST(ConfinementTest, SecurityOptsAsDockerTakesThem) {
  EXPECT_TRUE(Confined({.security_opts = {"no-new-privileges"}}).no_new_privileges);
  EXPECT_TRUE(Confined({.security_opts = {"no-new-privileges:true"}}).no_new_privileges);
  EXPECT_FALSE(Confined({.security_opts = {"no-new-privileges=false"}}).no_new_privileges);
  EXPECT_TRUE(Confined({.security_opts = {"systempaths=unconfined"}}).open_system_paths);
  EXPECT_THAT(Confined({.security_opts = {"seccomp=unconfined"}}).seccomp_filter, IsEmpty());
  EXPECT_EQ(ErrorOf("apparmor=unconfined"), "");
  EXPECT_EQ(ErrorOf("label:disable"), "");
}

TEST(ConfinementTest, ErrorsNameTheOption) {
  EXPECT_EQ(ErrorOf("secomp=x"),
            "--security-opt secomp=x: there are seccomp, no-new-privileges, systempaths, apparmor and label; "
            "did you "
            "mean 'seccomp'?");
  EXPECT_EQ(ErrorOf("no-new-privileges=yes"),
            "--security-opt no-new-privileges=yes: the value is true or false");
  EXPECT_EQ(ErrorOf("seccomp"), "--security-opt seccomp: a value is missing");
  EXPECT_EQ(ErrorOf("apparmor=docker-default"),
            "--security-opt apparmor=docker-default: the guest's kernel has no AppArmor, so there is only "
            "apparmor=unconfined");
  EXPECT_EQ(
      ErrorOf("label=type:svirt_t"),
      "--security-opt label=type:svirt_t: the guest's kernel has no SELinux, so there is only label=disable");
  EXPECT_EQ(ErrorOf("systempaths=none"),
            "--security-opt systempaths=none: there is only systempaths=unconfined");
  EXPECT_EQ(ErrorOf("seccomp=/no/such.json"),
            "seccomp profile '/no/such.json': open '/no/such.json': No such file or directory");
}

TEST(ConfinementTest, AFilesProfileIsCompiledAndItsOdditiesAreTold) {
  const std::string path = testing::TempDir() + "confinement." + std::to_string(::getpid());
  ASSERT_TRUE(WriteFileAtomic(path, R"({"defaultAction": "SCMP_ACT_ALLOW",
      "syscalls": [{"names": ["mkdir", "mkdirr"], "action": "SCMP_ACT_ERRNO"}]})")
                  .has_value());
  std::vector<std::string> warnings;

  const auto made = Confine({.security_opts = {"seccomp=" + path}}, Defaults(), warnings);

  ASSERT_TRUE(made.has_value()) << made.error().Message();
  EXPECT_EQ(made->seccomp, path);
  EXPECT_THAT(made->seccomp_filter, Not(IsEmpty()));
  EXPECT_THAT(warnings, testing::ElementsAre(HasSubstr("unknown system call 'mkdirr'")));
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace hmvm
