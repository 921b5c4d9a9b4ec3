// The guest as the attacker: kernels of our own that give the devices every kind of broken ring, touch every
// register, port and page, change under the devices' eyes what they have given to them, and send as many
// interrupts and notifications as there can be. The VMM must bear it, stay small and quiet, and end when
// told; a neighbour's work must not suffer.
#include <algorithm>
#include <optional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/attack/attacked_machine.h"
#include "tests/support/ring3_fixture.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::HasSubstr;
using testing::Not;

// What a VMM takes besides its guest's memory is below 5 MiB when nobody attacks it; rings, connections and
// pages of files come to it; the sanitizers' shadow, where there is one.
constexpr uint64_t kMostResidentKib = (AttackedMachine::kMemoryMib + MOST_OWN_MIB) << 10;
// virtio devices log 8 lines each, in mmio_transport.cc: two disks, vsock, rng, console, mem.
constexpr int kMostLogLines = 8 * 6 + 5;

struct Attack {
  const char* name;
  int cpus;
};
void PrintTo(const Attack& attack, std::ostream* out) { *out << attack.name; }

// Boots the attacking kernel, lets it do its worst, and looks at what has become of its VMM.
void Endure(const fs::path& dir, const AttackedMachine::Options& options) {
  AttackedMachine machine(dir, options);
  const auto connect = [&machine] { machine.Connect(); };
  for (int i = 0; i < 8; ++i) connect();

  ASSERT_TRUE(machine.WaitUntilQuiet()) << options.command_line << "\n" << machine.Console() << machine.Log();

  EXPECT_THAT(machine.Console(), Not(HasSubstr("FAIL"))) << options.command_line;
  // It has nothing left to do, and does nothing.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const auto before = machine.CpuTime();
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));
  EXPECT_LT(machine.CpuTime() - before, std::chrono::milliseconds(100)) << options.command_line;
  EXPECT_LT(machine.ResidentKib(), kMostResidentKib) << options.command_line;
  EXPECT_LT(machine.Descriptors(), 80u) << options.command_line;
  EXPECT_LT(machine.Threads(), 16u) << options.command_line;
  const std::string log = machine.Log();
  EXPECT_LE(std::count(log.begin(), log.end(), '\n'), kMostLogLines) << log;
  // It still answers, and ends.
  EXPECT_FALSE(machine.Counters().empty());
  EXPECT_TRUE(machine.DisksAreWhole()) << options.command_line;
  EXPECT_EQ(machine.Stop(), 0) << options.command_line << machine.Log();
}

class GuestAttackTest : public Ring3Test {
 protected:
  AttackedMachine::Options OnRing3(const std::string& attack, int cpus = 1, int seed = 1) const {
    return {.vmm = VmmProgram(),
            .platform = "ring3",
            .kernel = ATTACKING_KERNEL_RING3,
            .cpus = cpus,
            .command_line = "seed=" + std::to_string(seed) + " attack=" + attack,
            .jailed = JAILED};
  }
  AttackedMachine::Options OnHardware(const std::string& attack) const {
    return {.vmm = VmmProgram(),
            .platform = "hardware",
            .kernel = ATTACKING_KERNEL_HARDWARE,
            .cpus = 1,
            .command_line = "seed=1 attack=" + attack,
            .jailed = JAILED};
  }
};

class Ring3AttackTest : public GuestAttackTest, public testing::WithParamInterface<Attack> {};

INSTANTIATE_TEST_SUITE_P(Attacks, Ring3AttackTest,
                         testing::Values(Attack{"defects", 1}, Attack{"driver", 1}, Attack{"registers", 1},
                                         Attack{"ports", 1}, Attack{"hole", 1}, Attack{"races", 2},
                                         Attack{"storms", 2}, Attack{"disabled", 1}),
                         [](const auto& info) { return std::string(info.param.name); });

// Beside each, a neighbour has its registers under watch, and its own work's results.
TEST_P(Ring3AttackTest, VmmAndNeighbourStayWell) {
  std::optional<Child> neighbour;
  if (fs::exists(GuestKernel()))
    neighbour.emplace(Machine({.program = REGISTER_CHECK, .command_line = "-- 5 7"}));

  Endure(dir(), OnRing3(GetParam().name, GetParam().cpus));

  if (!neighbour) return;  // a sanitizer's build has no guest kernel
  const Outcome outcome = neighbour->Wait();
  EXPECT_EQ(outcome.exit_code, 3) << Describe(outcome);  // a panic, with its first process's exit code
  EXPECT_THAT(Console(), HasSubstr("exitcode=0x00000000"));
}

TEST_F(GuestAttackTest, DriversOfManySeeds) {
  constexpr int kSeeds = 8;
  for (int seed = 2; seed < 2 + kSeeds; ++seed) Endure(dir(), OnRing3("driver", 1, seed));
}

TEST_F(GuestAttackTest, EachDefectIsCounted) {
  AttackedMachine machine(dir(), OnRing3("defects"));

  ASSERT_TRUE(machine.WaitUntilQuiet()) << machine.Console() << machine.Log();

  const auto counters = machine.Counters();
  for (const char* device : {"blk0", "blk1", "vsock", "rng", "console", "mem"}) {
    EXPECT_GE(counters.at(std::string(device) + ".needs_reset"), 40u) << device;
    EXPECT_GE(counters.at(std::string(device) + ".refused_writes"), 30u) << device;
  }
}

// A device must not keep the machine from its end with what it still has to do.
TEST_F(GuestAttackTest, HugeRequestsDoNotDelayTheEnd) {
  AttackedMachine::Options options = OnRing3("huge");
  options.disk_bytes = uint64_t{16} << 30;
  AttackedMachine machine(dir(), options);
  ASSERT_TRUE(machine.WaitUntilQuiet()) << machine.Console() << machine.Log();

  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(machine.Stop(), 0) << machine.Log();

  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

class HardwareAttackTest : public GuestAttackTest, public testing::WithParamInterface<Attack> {};

INSTANTIATE_TEST_SUITE_P(Attacks, HardwareAttackTest,
                         testing::Values(Attack{"defects", 1}, Attack{"driver", 1}, Attack{"registers", 1},
                                         Attack{"ports", 1}, Attack{"hole", 1}, Attack{"storms", 1},
                                         Attack{"disabled", 1}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(HardwareAttackTest, VmmStaysWell) { Endure(dir(), OnHardware(GetParam().name)); }

}  // namespace
}  // namespace hmvm::test
