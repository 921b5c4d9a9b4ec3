#include "vmm/kvm/ring3_behaviours.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::HasSubstr;
using Verdict = HostFinding::Verdict;

Ring3Behaviours AllThere() {
  Ring3Behaviours behaviours;
  for (const Ring3Need& need : Ring3Needs()) behaviours.*need.behaviour = Seen::kYes;
  return behaviours;
}

TEST(Ring3BehavioursTest, TheTableHasEveryBehaviour) {
  EXPECT_EQ(Ring3Needs().size() * sizeof(Seen), sizeof(Ring3Behaviours));
}

TEST(Ring3BehavioursTest, WhereAllIsThereNothingIsRefused) {
  EXPECT_EQ(Ring3Refusal(AllThere()), "");
  for (const HostFinding& finding : Ring3Findings(AllThere(), Verdict::kMissing)) {
    EXPECT_EQ(finding.verdict, Verdict::kOk) << finding.name;
  }
}

TEST(Ring3BehavioursTest, EachThatIsMissingIsNamedInOneLine) {
  for (const Ring3Need& need : Ring3Needs()) {
    Ring3Behaviours behaviours = AllThere();
    behaviours.*need.behaviour = Seen::kNo;

    const std::string refusal = Ring3Refusal(behaviours);

    EXPECT_EQ(refusal, std::string("ring3: this host's KVM ") + need.lack + ": needed for " + need.purpose);
    EXPECT_EQ(refusal.find('\n'), std::string::npos);
    for (const HostFinding& finding : Ring3Findings(behaviours, Verdict::kMissing)) {
      const bool this_one = finding.name == std::string("ring3: ") + need.name;
      EXPECT_EQ(finding.verdict, this_one ? Verdict::kMissing : Verdict::kOk) << finding.name;
      if (this_one) {
        EXPECT_THAT(finding.value, HasSubstr(need.lack));
      }
    }
  }
}

TEST(Ring3BehavioursTest, WhatWasNotTriedIsNotCalledMissing) {
  const Ring3Behaviours behaviours = {.start = Seen::kYes, .syscall = Seen::kNo};

  EXPECT_THAT(Ring3Refusal(behaviours), HasSubstr("syscall"));
  const std::vector<HostFinding> findings = Ring3Findings(behaviours, Verdict::kMissing);
  EXPECT_EQ(findings[1].verdict, Verdict::kMissing);
  EXPECT_EQ(findings[2].verdict, Verdict::kNote);
  EXPECT_EQ(findings[2].value, "not tried");
}

TEST(Ring3BehavioursTest, WhereHardwareHelpsNothingIsMissing) {
  for (const HostFinding& finding : Ring3Findings({.syscall = Seen::kNo}, Verdict::kNote)) {
    EXPECT_NE(finding.verdict, Verdict::kMissing) << finding.name;
  }
}

}  // namespace
}  // namespace hmvm
