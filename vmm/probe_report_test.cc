#include "vmm/probe_report.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(ProbeReportTest, PlatformAndFindingsAreOneLineOfJson) {
  const HostProbe probe{
      .emulated_ring0 = true,
      .hardware_usable = true,
      .ring3_usable = true,
      .ring3_refusal = "",
      .findings = {{"guest ring 0", "interpreted", "kernels run in ring 3", HostFinding::Verdict::kNote}}};

  EXPECT_EQ(ProbeReport(probe),
            R"({"platform":"ring3","findings":[{"name":"guest ring 0","value":"interpreted",)"
            R"("meaning":"kernels run in ring 3","verdict":"note"}]})"
            "\n");
}

}  // namespace
}  // namespace hmvm
