#include "runtime/cli/command_line.h"

#include <signal.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

template <typename Options>
Options Parsed(std::vector<std::string> arguments) {
  auto line = ParseCommandLine(std::move(arguments));
  EXPECT_TRUE(line.has_value()) << line.error().Message();
  if (!line.has_value() || !std::holds_alternative<Options>(line->command)) {
    ADD_FAILURE() << "another command";
    return {};
  }
  return std::get<Options>(line->command);
}

std::string Refused(std::vector<std::string> arguments) {
  const auto line = ParseCommandLine(std::move(arguments));
  if (line.has_value()) return "";
  EXPECT_THAT(line.error().what, Not(HasSubstr("\n")));
  return line.error().Message();
}

TEST(RunLineTest, Defaults) {
  const auto run = Parsed<RunOptions>({"run", "busybox"});
  EXPECT_EQ(run.image, "busybox");
  EXPECT_THAT(run.command, IsEmpty());
  EXPECT_EQ(run.cpus, 1U);
  EXPECT_EQ(run.memory_bytes, uint64_t{256} << 20);
  EXPECT_EQ(run.platform, "auto");
  EXPECT_FALSE(run.entrypoint.has_value());
  EXPECT_FALSE(run.remove || run.detach || run.interactive || run.terminal || run.read_only);
}

TEST(RunLineTest, Confinement) {
  const auto run = Parsed<RunOptions>({"run", "--cap-add", "NET_ADMIN", "--cap-drop=ALL", "--security-opt",
                                       "no-new-privileges", "--security-opt", "seccomp=unconfined",
                                       "--security-profile", "strict", "--privileged", "busybox", "true"});

  EXPECT_THAT(run.confinement.cap_add, ElementsAre("NET_ADMIN"));
  EXPECT_THAT(run.confinement.cap_drop, ElementsAre("ALL"));
  EXPECT_THAT(run.confinement.security_opts, ElementsAre("no-new-privileges", "seccomp=unconfined"));
  EXPECT_EQ(run.security_profile, "strict");
  EXPECT_TRUE(run.confinement.privileged);
  EXPECT_EQ(Parsed<RunOptions>({"run", "busybox"}).security_profile, "default");
  EXPECT_TRUE(Parsed<ExecOptions>({"exec", "--privileged", "c", "sh"}).privileged);
}

TEST(ProfileLineTest, CheckAndShow) {
  EXPECT_THAT(Parsed<ProfileCheckOptions>({"profile", "check", "a", "b"}).files, ElementsAre("a", "b"));
  EXPECT_EQ(Parsed<ProfileShowOptions>({"profile", "show", "strict"}).profile, "strict");
}

TEST(RunLineTest, EveryOption) {
  const auto run = Parsed<RunOptions>(
      {"run",          "--rm",     "-d",         "-i",    "-t",         "--name",     "web",
       "-e",           "A=1",      "--env",      "B=2 3", "--env-file", "f1",         "--env-file",
       "f2",           "-w",       "/tmp",       "-u",    "1:2",        "--hostname", "host",
       "--entrypoint", "/bin/sh",  "--cpus",     "4",     "-m",         "512m",       "--read-only",
       "--kernel",     "/vmlinux", "--platform", "ring3", "busybox",    "echo"});
  EXPECT_TRUE(run.remove && run.detach && run.interactive && run.terminal && run.read_only);
  EXPECT_EQ(run.name, "web");
  EXPECT_THAT(run.env, ElementsAre("A=1", "B=2 3"));
  EXPECT_THAT(run.env_files, ElementsAre("f1", "f2"));
  EXPECT_EQ(run.working_dir, "/tmp");
  EXPECT_EQ(run.user, "1:2");
  EXPECT_EQ(run.hostname, "host");
  EXPECT_EQ(run.entrypoint, "/bin/sh");
  EXPECT_EQ(run.cpus, 4U);
  EXPECT_EQ(run.memory_bytes, uint64_t{512} << 20);
  EXPECT_EQ(run.kernel, "/vmlinux");
  EXPECT_EQ(run.platform, "ring3");
  EXPECT_EQ(run.image, "busybox");
  EXPECT_THAT(run.command, ElementsAre("echo"));
}

TEST(RunLineTest, ShortFlagsCombine) {
  const auto run = Parsed<RunOptions>({"run", "-itd", "-m1g", "-eA=1", "--name=n", "busybox"});
  EXPECT_TRUE(run.interactive && run.terminal && run.detach);
  EXPECT_EQ(run.memory_bytes, uint64_t{1} << 30);
  EXPECT_THAT(run.env, ElementsAre("A=1"));
  EXPECT_EQ(run.name, "n");
}

TEST(RunLineTest, WhatFollowsTheImageIsTheCommands) {
  const auto run = Parsed<RunOptions>(
      {"run", "--rm", "busybox", "ls", "-l", "--name", "x", "-t", "--", "-e", "--help", "run"});
  EXPECT_TRUE(run.name.empty());
  EXPECT_FALSE(run.terminal);
  EXPECT_THAT(run.command, ElementsAre("ls", "-l", "--name", "x", "-t", "--", "-e", "--help", "run"));
  EXPECT_THAT(Parsed<RunOptions>({"run", "busybox", "--help"}).command, ElementsAre("--help"));
  EXPECT_THAT(Parsed<RunOptions>({"run", "busybox", "ps", "-a"}).command, ElementsAre("ps", "-a"));
  EXPECT_THAT(Parsed<RunOptions>({"run", "busybox", "", " "}).command, ElementsAre("", " "));
}

TEST(RunLineTest, TwoDashesEndTheOptions) {
  const auto run = Parsed<RunOptions>({"run", "-i", "--", "busybox", "-x"});
  EXPECT_EQ(run.image, "busybox");
  EXPECT_THAT(run.command, ElementsAre("-x"));
}

TEST(RunLineTest, AnEmptyEntrypointIsOne) {
  EXPECT_EQ(Parsed<RunOptions>({"run", "--entrypoint", "", "busybox", "ls"}).entrypoint, "");
  EXPECT_EQ(Parsed<RunOptions>({"run", "--entrypoint=", "busybox", "ls"}).entrypoint, "");
}

TEST(RunLineTest, WrongValuesAreNamed) {
  EXPECT_THAT(Refused({"run"}), HasSubstr("IMAGE"));
  EXPECT_THAT(Refused({"run", "--no-such-option", "busybox"}), HasSubstr("--no-such-option"));
  EXPECT_THAT(Refused({"run", "-Z", "busybox"}), HasSubstr("-Z"));
  EXPECT_THAT(Refused({"run", "--cpus", "0", "busybox"}), HasSubstr("cpus '0'"));
  EXPECT_THAT(Refused({"run", "--cpus", "0.001", "busybox"}), HasSubstr("cpus '0.001'"));
  EXPECT_THAT(Refused({"run", "--cpus", "99999999999", "busybox"}), HasSubstr("cpus"));
  EXPECT_THAT(Refused({"run", "-m", "lots", "busybox"}), HasSubstr("lots"));
  EXPECT_THAT(Refused({"run", "--platform", "xen", "busybox"}), HasSubstr("xen"));
  EXPECT_THAT(Refused({"run", "--name"}), HasSubstr("--name"));
}

TEST(ExecLineTest, OptionsThenContainerThenCommand) {
  const auto exec = Parsed<ExecOptions>(
      {"exec", "-it", "-e", "A=1", "-e", "B=2", "-w", "/srv", "-u", "www", "web", "sh", "-c", "exit 3"});
  EXPECT_TRUE(exec.interactive && exec.terminal);
  EXPECT_THAT(exec.env, ElementsAre("A=1", "B=2"));
  EXPECT_EQ(exec.working_dir, "/srv");
  EXPECT_EQ(exec.user, "www");
  EXPECT_EQ(exec.container, "web");
  EXPECT_THAT(exec.command, ElementsAre("sh", "-c", "exit 3"));
  EXPECT_THAT(Refused({"exec"}), HasSubstr("CONTAINER"));
  EXPECT_THAT(Refused({"exec", "web"}), HasSubstr("COMMAND"));
}

TEST(OtherLinesTest, Containers) {
  EXPECT_TRUE(Parsed<PsOptions>({"ps", "-aq"}).all);
  EXPECT_TRUE(Parsed<PsOptions>({"ps", "-aq"}).quiet);
  EXPECT_TRUE(Parsed<PsOptions>({"ps", "--format", "json"}).json);
  EXPECT_FALSE(Parsed<LogsOptions>({"logs", "web"}).tail.has_value());
  EXPECT_TRUE(Parsed<LogsOptions>({"logs", "-f", "web"}).follow);
  EXPECT_EQ(Parsed<LogsOptions>({"logs", "--tail", "7", "web"}).tail, 7U);
  EXPECT_EQ(Parsed<LogsOptions>({"logs", "web", "--tail=0"}).tail, 0U);
  EXPECT_EQ(Parsed<StopOptions>({"stop", "web"}).timeout_s, 10U);
  EXPECT_EQ(Parsed<StopOptions>({"stop", "-t", "3", "a", "b"}).timeout_s, 3U);
  EXPECT_THAT(Parsed<StopOptions>({"stop", "-t", "3", "a", "b"}).containers, ElementsAre("a", "b"));
  EXPECT_EQ(Parsed<KillOptions>({"kill", "web"}).signal, SIGKILL);
  EXPECT_EQ(Parsed<KillOptions>({"kill", "-s", "usr1", "web"}).signal, SIGUSR1);
  EXPECT_TRUE(Parsed<RmOptions>({"rm", "-f", "a", "b"}).force);
  EXPECT_THAT(Parsed<RmOptions>({"rm", "a", "b"}).containers, ElementsAre("a", "b"));
  EXPECT_THAT(Parsed<WaitOptions>({"wait", "a"}).containers, ElementsAre("a"));
  EXPECT_THAT(Parsed<InspectOptions>({"inspect", "a"}).containers, ElementsAre("a"));
}

TEST(OtherLinesTest, Images) {
  EXPECT_TRUE(Parsed<ImagesOptions>({"images", "-q"}).quiet);
  EXPECT_TRUE(Parsed<ImagesOptions>({"image", "ls", "--format=json"}).json);
  EXPECT_EQ(Parsed<ImageImportOptions>({"image", "import", "dir", "--name", "n"}).path, "dir");
  EXPECT_EQ(Parsed<ImageImportOptions>({"image", "import", "--name", "n", "dir"}).name, "n");
  EXPECT_THAT(Parsed<ImageRmOptions>({"image", "rm", "a", "b"}).images, ElementsAre("a", "b"));
}

TEST(OtherLinesTest, Guard) {
  Parsed<GuardLoadOptions>({"guard", "load"});
  Parsed<GuardUnloadOptions>({"guard", "unload"});
  EXPECT_FALSE(Parsed<GuardStatusOptions>({"guard", "status"}).json);
  EXPECT_TRUE(Parsed<GuardStatusOptions>({"guard", "status", "--format", "json"}).json);
  EXPECT_TRUE(Parsed<GuardStatusOptions>({"guard", "status", "--exits"}).exits);
  EXPECT_EQ(Parsed<AuditVerifyOptions>({"audit", "verify"}).file, "");
  EXPECT_EQ(Parsed<AuditVerifyOptions>({"audit", "verify", "log"}).file, "log");
  EXPECT_TRUE(Parsed<RunOptions>({"run", "--require-guard", "image"}).require_guard);
}

TEST(OtherLinesTest, CheckAndVersion) {
  EXPECT_FALSE(Parsed<CheckOptions>({"check"}).json);
  EXPECT_TRUE(Parsed<CheckOptions>({"check", "--format", "json"}).json);
  EXPECT_TRUE(Parsed<VersionOptions>({"version", "--format", "json"}).json);
}

TEST(OtherLinesTest, WrongValuesAreNamed) {
  EXPECT_NE(Refused({}), "");
  EXPECT_THAT(Refused({"frobnicate"}), HasSubstr("frobnicate"));
  EXPECT_NE(Refused({"image"}), "");
  EXPECT_NE(Refused({"stop"}), "");
  EXPECT_THAT(Refused({"stop", "-t", "soon", "a"}), HasSubstr("soon"));
  EXPECT_THAT(Refused({"kill", "-s", "NOSUCH", "a"}), HasSubstr("NOSUCH"));
  EXPECT_THAT(Refused({"logs", "--tail", "-1", "a"}), HasSubstr("-1"));
  EXPECT_THAT(Refused({"ps", "--format", "xml"}), HasSubstr("xml"));
  EXPECT_NE(Refused({"ps", "extra"}), "");
}

TEST(GlobalOptionsTest, FoldersStandBeforeTheCommand) {
  const auto line = ParseCommandLine({"--root", "/a", "--run-root", "/b", "ps"});
  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line->root, "/a");
  EXPECT_EQ(line->run_root, "/b");
  EXPECT_EQ(ParseCommandLine({"ps"})->root, "/var/lib/hmvm");
  EXPECT_EQ(ParseCommandLine({"ps"})->run_root, "/run/hmvm");
}

TEST(HelpTest, EveryCommandHasExamples) {
  EXPECT_THAT(Parsed<HelpText>({"--help"}).text, HasSubstr("hmvm run"));
  for (const char* command : {"run", "exec", "ps", "logs", "stop", "kill", "rm", "wait", "inspect", "images",
                              "image", "check", "version"}) {
    EXPECT_THAT(Parsed<HelpText>({command, "--help"}).text, HasSubstr("Examples:")) << command;
  }
  for (const char* command : {"import", "rm", "ls"}) {
    EXPECT_THAT(Parsed<HelpText>({"image", command, "-h"}).text, HasSubstr("Examples:")) << command;
  }
}

}  // namespace
}  // namespace hmvm
