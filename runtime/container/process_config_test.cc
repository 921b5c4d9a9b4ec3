#include "runtime/container/process_config.h"

#include <signal.h>

#include <cstdlib>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ImageConfig Server() {
  ImageConfig image;
  image.entrypoint = {"/server"};
  image.cmd = {"--quiet"};
  image.env = {"PATH=/bin", "MODE=image"};
  image.working_dir = "/srv";
  image.user = "www";
  return image;
}

TEST(MergeProcessTest, TheImageAlone) {
  const auto merged = MergeProcess(Server(), {});
  ASSERT_TRUE(merged.has_value());
  EXPECT_THAT(merged->args, ElementsAre("/server", "--quiet"));
  EXPECT_THAT(merged->env, ElementsAre("PATH=/bin", "MODE=image"));
  EXPECT_EQ(merged->working_dir, "/srv");
  EXPECT_EQ(merged->user, "www");
}

TEST(MergeProcessTest, ACommandReplacesTheImagesCommandOnly) {
  const auto merged = MergeProcess(Server(), {.command = {"--loud", "x"}});
  ASSERT_TRUE(merged.has_value());
  EXPECT_THAT(merged->args, ElementsAre("/server", "--loud", "x"));
}

TEST(MergeProcessTest, AnEntrypointDropsTheImagesCommandToo) {
  const auto alone = MergeProcess(Server(), {.entrypoint = "/bin/sh"});
  const auto with_command = MergeProcess(Server(), {.command = {"-c", "id"}, .entrypoint = "/bin/sh"});
  ASSERT_TRUE(alone.has_value() && with_command.has_value());
  EXPECT_THAT(alone->args, ElementsAre("/bin/sh"));
  EXPECT_THAT(with_command->args, ElementsAre("/bin/sh", "-c", "id"));
}

TEST(MergeProcessTest, AnEmptyEntrypointDropsTheImages) {
  const auto merged = MergeProcess(Server(), {.command = {"ls"}, .entrypoint = ""});
  ASSERT_TRUE(merged.has_value());
  EXPECT_THAT(merged->args, ElementsAre("ls"));
}

TEST(MergeProcessTest, NothingToRunIsAnError) {
  EXPECT_FALSE(MergeProcess({}, {}).has_value());
  EXPECT_FALSE(MergeProcess(Server(), {.entrypoint = ""}).has_value());
  EXPECT_FALSE(MergeProcess({}, {.command = {""}}).has_value());
}

TEST(MergeProcessTest, WishesWinOverTheImage) {
  const auto merged =
      MergeProcess(Server(), {.env = {"MODE=user", "NEW=1"}, .working_dir = "/tmp", .user = "1000:1000"});
  ASSERT_TRUE(merged.has_value());
  EXPECT_THAT(merged->env, ElementsAre("PATH=/bin", "MODE=user", "NEW=1"));
  EXPECT_EQ(merged->working_dir, "/tmp");
  EXPECT_EQ(merged->user, "1000:1000");
}

TEST(MergeProcessTest, WorkingDirectoryIsTheRootByDefaultAndAbsolute) {
  EXPECT_EQ(MergeProcess({}, {.command = {"ls"}})->working_dir, "/");
  EXPECT_FALSE(MergeProcess({}, {.command = {"ls"}, .working_dir = "tmp"}).has_value());
}

TEST(EnvTest, ArgumentsSetHandOnOrAreRefused) {
  ::setenv("HMVM_TEST_VARIABLE", "ours", 1);
  std::vector<std::string> env;
  ASSERT_TRUE(AddEnvArgument("A=1", env).has_value());
  ASSERT_TRUE(AddEnvArgument("A=2", env).has_value());
  ASSERT_TRUE(AddEnvArgument("EMPTY=", env).has_value());
  ASSERT_TRUE(AddEnvArgument("HMVM_TEST_VARIABLE", env).has_value());
  ASSERT_TRUE(AddEnvArgument("HMVM_TEST_ABSENT", env).has_value());
  EXPECT_FALSE(AddEnvArgument("=x", env).has_value());
  EXPECT_FALSE(AddEnvArgument("", env).has_value());
  EXPECT_THAT(env, ElementsAre("A=2", "EMPTY=", "HMVM_TEST_VARIABLE=ours"));
}

TEST(EnvTest, FilesHaveCommentsAndNameTheirErrors) {
  const std::string path = testing::TempDir() + "hmvm_env_file";
  std::ofstream(path) << "# comment\n\nA=1\r\n  B=two words # kept\nA=3";
  std::vector<std::string> env;
  ASSERT_TRUE(AddEnvFile(path, env).has_value());
  EXPECT_THAT(env, ElementsAre("A=3", "B=two words # kept"));

  std::ofstream(path) << "=x\n";
  const auto bad = AddEnvFile(path, env);
  ASSERT_FALSE(bad.has_value());
  EXPECT_THAT(bad.error().what, HasSubstr(path));
  EXPECT_FALSE(AddEnvFile(path + ".absent", env).has_value());
}

TEST(SignalTest, NamesAndNumbers) {
  EXPECT_EQ(ParseSignal("SIGTERM"), SIGTERM);
  EXPECT_EQ(ParseSignal("term"), SIGTERM);
  EXPECT_EQ(ParseSignal("9"), SIGKILL);
  EXPECT_EQ(ParseSignal("USR1"), SIGUSR1);
  EXPECT_EQ(ParseSignal("RTMIN+3"), SIGRTMIN + 3);
  EXPECT_EQ(ParseSignal("SIGRTMIN"), SIGRTMIN);
  for (const char* text : {"", "0", "65", "-1", "SIG", "NOSUCH", "RTMIN+99", "RTMIN-1", "9x"}) {
    EXPECT_FALSE(ParseSignal(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace hmvm
