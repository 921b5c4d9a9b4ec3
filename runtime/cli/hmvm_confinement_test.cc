// How a container is confined, and the profiles that say so.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "runtime/testing/hmvm_fixture.h"

namespace hmvm {
namespace {

using testing::HasSubstr;

TEST_F(HmvmTest, InspectShowsHowAContainerIsConfined) {
  Must({"create", "--name", "c", "--cap-drop", "ALL", "--cap-add", "kill", "--security-profile", "strict",
        "busybox"});

  const nlohmann::json security = Inspect("c")["security"];

  EXPECT_EQ(security["profile"], "strict");
  EXPECT_EQ(security["capabilities"], nlohmann::json::array({"CAP_KILL"}));
  EXPECT_EQ(security["seccomp"], "strict");
  EXPECT_EQ(security["no_new_privileges"], true);
  EXPECT_EQ(security["system_paths"], "masked");
  EXPECT_EQ(Inspect("c")["read_only"], true);
  EXPECT_EQ(Inspect("c")["resources"]["pids_limit"], 512);
  Must({"rm", "c"});
}

TEST_F(HmvmTest, WhatIsWrongAboutConfinementIsToldBeforeAnythingIsMade) {
  EXPECT_THAT(Hmvm({"create", "--cap-add", "NET_ADMN", "busybox"}).output,
              HasSubstr("--cap-add: unknown capability 'NET_ADMN'; did you mean 'CAP_NET_ADMIN'?"));
  EXPECT_THAT(Hmvm({"create", "--security-opt", "seccomp=/no/file", "busybox"}).output,
              HasSubstr("/no/file"));
  EXPECT_THAT(Hmvm({"create", "--privileged", "--security-profile", "strict", "busybox"}).output,
              HasSubstr("contradict"));
  EXPECT_EQ(Must({"ps", "-aq"}), "");
}

TEST_F(HmvmTest, ProfilesAreCheckedAndShown) {
  const std::string file = dir_ / "p.yaml";
  std::ofstream(file) << "version: 1\ncontainer:\n  capabilites: []\n";

  const CommandResult wrong = Hmvm({"profile", "check", file});

  EXPECT_EQ(wrong.exit_code, 125);
  EXPECT_EQ(wrong.output,
            "hmvm: " + file + ":3:3: unknown key 'capabilites'; did you mean 'capabilities'?\n");
  std::ofstream(file) << Must({"profile", "show", "strict"});
  EXPECT_EQ(Must({"profile", "check", file}), file + ": good\n");
  EXPECT_EQ(Must({"profile", "show", file}), Must({"profile", "show", "strict"}));
}

}  // namespace
}  // namespace hmvm
