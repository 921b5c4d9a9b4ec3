// The probe in machines set up wrongly, where it must see what is missing, and that alone.
#include "vmm/kvm/ring3_probe.h"

#include <functional>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "vmm/kvm/host_probe.h"

namespace hmvm {
namespace {

constexpr uint64_t kUser = 4;
constexpr uint64_t kWritable = 2;
constexpr uint64_t kNoExecute = uint64_t{1} << 63;

uint64_t SlotOf(uint64_t address) { return address >> 39 & 0x1ff; }

class Ring3ProbeKvmTest : public testing::Test {
 protected:
  void SetUp() override {
    auto kvm = Kvm::Open();
    if (!kvm.has_value()) GTEST_SKIP() << kvm.error().Message();
    kvm_.emplace(std::move(*kvm));
    const auto probe = ProbeHost(*kvm_);
    ASSERT_TRUE(probe.has_value()) << probe.error().Message();
    if (!probe->emulated_ring0) GTEST_SKIP() << "this host has no use for the ring3 platform";
  }

  // The names of what is not seen after `spoil` has changed the machine.
  std::set<std::string> Missing(const std::function<void(const ProbeMachine&)>& spoil) {
    const auto machine = ProbeMachine::Create();
    EXPECT_TRUE(machine.has_value());
    spoil(*machine);
    const auto vm = kvm_->CreateVm();
    EXPECT_TRUE(vm.has_value());
    EXPECT_TRUE(machine->AddTo(*vm).has_value());
    const auto behaviours = ProbeRing3(*kvm_, *vm, *machine, 0);
    EXPECT_TRUE(behaviours.has_value()) << behaviours.error().Message();
    std::set<std::string> names;
    for (const HostFinding& finding : Ring3Findings(*behaviours, HostFinding::Verdict::kMissing)) {
      if (finding.verdict == HostFinding::Verdict::kMissing) names.insert(finding.name);
    }
    EXPECT_EQ(AllSeen(*behaviours), names.empty());
    return names;
  }

 private:
  std::optional<Kvm> kvm_;
};

using Names = std::set<std::string>;

TEST_F(Ring3ProbeKvmTest, OfThisHostNothingIsMissing) {
  EXPECT_EQ(Missing([](const ProbeMachine&) {}), Names());
}

TEST_F(Ring3ProbeKvmTest, ABreakGateThatLeadsElsewhere) {
  const Names missing = Missing([](const ProbeMachine& machine) {
    constexpr uint64_t kIdt = PROBE_FRAMES + PROBE_IDT;
    machine.Entry(kIdt, 3 * 2) = machine.Entry(kIdt, 4 * 2);
  });

  EXPECT_TRUE(missing.contains("ring3: int3 gate"));
  EXPECT_TRUE(missing.contains("ring3: page-table updates"));  // for which it loads cr3
  EXPECT_TRUE(missing.contains("ring3: frames of two views"));
  EXPECT_FALSE(missing.contains("ring3: syscall"));
  EXPECT_FALSE(missing.contains("ring3: no-execute"));
}

TEST_F(Ring3ProbeKvmTest, ASupervisorPageWithinReach) {
  EXPECT_EQ(Missing([](const ProbeMachine& machine) { machine.EntryOfPage(PROBE_SUPERVISOR) |= kUser; }),
            Names{"ring3: supervisor pages"});
}

TEST_F(Ring3ProbeKvmTest, AReadOnlyPageThatIsWritable) {
  EXPECT_EQ(Missing([](const ProbeMachine& machine) { machine.EntryOfPage(PROBE_READ_ONLY) |= kWritable; }),
            Names{"ring3: read-only pages"});
}

TEST_F(Ring3ProbeKvmTest, ALevel4EntryThatLetsDataRun) {
  EXPECT_EQ(Missing([](const ProbeMachine& machine) {
              machine.Entry(PROBE_ROOT_A, SlotOf(PROBE_NO_EXECUTE_LEVEL4)) &= ~kNoExecute;
            }),
            Names{"ring3: no-execute"});
}

TEST_F(Ring3ProbeKvmTest, AnUpperHalfOutOfReach) {
  EXPECT_EQ(Missing([](const ProbeMachine& machine) {
              machine.Entry(PROBE_ROOT_A, SlotOf(PROBE_HIGH_KERNEL_MAP)) = 0;
            }),
            Names{"ring3: upper half"});
}

// As if KVM's shadow did not follow: the program writes to a table that is not the one in use.
TEST_F(Ring3ProbeKvmTest, ATableWhoseChangesCountForNothing) {
  constexpr uint64_t kOtherFrame = 0xe000;
  EXPECT_EQ(Missing([](const ProbeMachine& machine) { machine.EntryOfPage(PROBE_TABLE) = kOtherFrame | 7; }),
            (Names{"ring3: page-table updates", "ring3: accessed and dirty bits"}));
}

TEST_F(Ring3ProbeKvmTest, ASecondViewWithTheFirstOnesIdt) {
  EXPECT_EQ(Missing([](const ProbeMachine& machine) {
              machine.Entry(PROBE_ROOT_B, SlotOf(PROBE_BASE)) =
                  machine.Entry(PROBE_ROOT_A, SlotOf(PROBE_BASE));
            }),
            (Names{"ring3: two views", "ring3: frames of two views"}));
}

TEST_F(Ring3ProbeKvmTest, AnInt3WithoutAnInterruptStack) {
  EXPECT_EQ(Missing([](const ProbeMachine& machine) {
              constexpr uint64_t kStackOfInt3 = uint64_t{7} << 32;
              machine.Entry(PROBE_FRAMES + PROBE_IDT, 3 * 2) &= ~kStackOfInt3;
            }),
            Names{"ring3: frames of two views"});
}

TEST_F(Ring3ProbeKvmTest, ALargeSupervisorPageWithinReach) {
  EXPECT_EQ(Missing([](const ProbeMachine& machine) { machine.LargeEntry() |= kUser; }),
            Names{"ring3: supervisor pages"});
}

TEST_F(Ring3ProbeKvmTest, MemoryWhereNoneShouldBe) {
  EXPECT_EQ(Missing([](const ProbeMachine& machine) { machine.EntryOfPage(PROBE_MMIO) = 0xe000 | 7; }),
            (Names{"ring3: MMIO", "ring3: ioeventfd"}));
}

// A guest that dies at once: what comes after was not tried, and the line names the first thing.
TEST_F(Ring3ProbeKvmTest, ProgramThatIsNotThere) {
  EXPECT_EQ(Missing([](const ProbeMachine& machine) { machine.EntryOfPage(PROBE_PROGRAM) = 0; }),
            (Names{"ring3: start", "ring3: end"}));
}

// One that never comes back.
TEST_F(Ring3ProbeKvmTest, ProgramThatHangs) {
  constexpr uint64_t kJumpToItself = 0xfeeb;
  EXPECT_EQ(Missing([](const ProbeMachine& machine) {
              machine.Entry(PROBE_FRAMES + PROBE_PROGRAM, 0) = kJumpToItself;
            }),
            (Names{"ring3: start", "ring3: end"}));
}

}  // namespace
}  // namespace hmvm
