// The guest's clocks beside the host's: in a container from its first moment on, and over a pause of its
// machine. What the guest answers is true of some time between question and answer, so no test depends on how
// long that took.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <future>
#include <iterator>
#include <sstream>
#include <thread>

#include "runtime/supervisor/guest_clock.h"
#include "tests/support/container_fixture.h"
#include "tests/support/machine.h"

namespace hmvm::test {
namespace {

constexpr int64_t kToleranceNs = 1'000'000;

int64_t HostNs(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// What can be said of guest time minus host time after some questions: it lies between the two.
struct Difference {
  int64_t least = INT64_MIN;
  int64_t most = INT64_MAX;

  void Learn(int64_t host_before, int64_t guest, int64_t host_after) {
    least = std::max(least, guest - host_after);
    most = std::min(most, guest - host_before);
  }
  // No difference fits all answers by `least - most`: so much has one clock run off the other.
  int64_t Drift() const { return std::max<int64_t>(least - most, 0); }
  int64_t DistanceFromZero() const { return std::max({least, -most, int64_t{0}}); }
};

struct Differences {
  Difference realtime;
  Difference monotonic;
};

using TimeTest = ContainerTest;

TEST_F(TimeTest, AContainersClocksAreTheHosts) {
  std::ifstream file(BuildDir() / "tests/clock_check", std::ios::binary);
  const std::string program{std::istreambuf_iterator<char>(file), {}};
  ASSERT_EQ(ExecWith({"-i"}, {"sh", "-c", "cat > /bin/clock_check && chmod 755 /bin/clock_check"}, program)
                .exit_code,
            0);
  constexpr int kQuestions = 30;
  Child guest(sandbox_->Command({"exec", "-i", "shared", "clock_check"}));
  struct Times {
    int64_t realtime;
    int64_t monotonic;
  };
  std::vector<std::pair<Times, Times>> host;
  for (int i = 0; i < kQuestions; ++i) {
    const Times before = {HostNs(CLOCK_REALTIME), HostNs(CLOCK_MONOTONIC)};
    guest.Send("\n");
    ASSERT_TRUE(guest.WaitForOutput("\n"));
    host.emplace_back(before, Times{HostNs(CLOCK_REALTIME), HostNs(CLOCK_MONOTONIC)});
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  guest.EndInput();
  const Outcome outcome = guest.Wait();
  ASSERT_EQ(outcome.exit_code, 0) << Describe(outcome);

  Differences seen;
  std::istringstream answers(outcome.out);
  for (const auto& [before, after] : host) {
    int64_t realtime = 0;
    int64_t monotonic = 0;
    int64_t boottime = 0;
    ASSERT_TRUE(answers >> realtime >> monotonic >> boottime) << outcome.out;
    EXPECT_LE(boottime - monotonic, after.monotonic - before.monotonic);  // read one after the other
    seen.realtime.Learn(before.realtime, realtime, after.realtime);
    seen.monotonic.Learn(before.monotonic, monotonic, after.monotonic);
  }

  EXPECT_LE(seen.realtime.DistanceFromZero(), kToleranceNs);
  EXPECT_LE(seen.monotonic.Drift(), kToleranceNs);
}

class PauseTest : public GuestTest {
 protected:
  static Machine Boot() {
    Machine::Options options;
    options.vmm = VmmProgram();
    options.kernel = GuestKernel();
    options.initramfs = GuestInitramfs();
    options.console = sandbox_->dir() / "console";
    Result<Machine> machine = Machine::Start(options);
    if (!machine.has_value()) throw std::runtime_error(machine.error().Message());  // the test fails with it
    return std::move(*machine);
  }
  static Result<agent::v1::AdjustClockResponse> Adjust(Machine& machine, int64_t step_ns) {
    agent::v1::AdjustClockRequest request;
    request.set_step_ns(step_ns);
    return machine.Agent<agent::v1::AdjustClockResponse>("AdjustClock", request);
  }
  static Result<> Pause(Machine& machine) {
    HMVM_TRY(machine.Control<vmm::v1::PauseResponse>("Pause", vmm::v1::PauseRequest()));
    return {};
  }
  static Result<> Resume(Machine& machine) {
    HMVM_TRY(machine.Control<vmm::v1::ResumeResponse>("Resume", vmm::v1::ResumeRequest()));
    return {};
  }
  static void Ask(Machine& machine, Differences& seen) {
    const int64_t realtime = HostNs(CLOCK_REALTIME);
    const int64_t monotonic = HostNs(CLOCK_MONOTONIC);
    const auto guest = Adjust(machine, 0);
    ASSERT_TRUE(guest.has_value()) << guest.error().Message();
    seen.realtime.Learn(realtime, guest->realtime_ns(), HostNs(CLOCK_REALTIME));
    seen.monotonic.Learn(monotonic, guest->monotonic_ns(), HostNs(CLOCK_MONOTONIC));
  }
};

TEST_F(PauseTest, ClocksGoOnOverAPauseAsTheHostsDo) {
  Machine machine = Boot();
  const auto adjust = [&machine](int64_t step_ns) { return Adjust(machine, step_ns); };
  ASSERT_TRUE(SetGuestClock(adjust).has_value());
  Differences seen;
  for (int i = 0; i < 20; ++i) Ask(machine, seen);

  ASSERT_TRUE(Pause(machine).has_value());
  std::this_thread::sleep_for(std::chrono::seconds(2));
  ASSERT_TRUE(Resume(machine).has_value());
  for (int i = 0; i < 20; ++i) Ask(machine, seen);

  EXPECT_LE(seen.realtime.DistanceFromZero(), kToleranceNs);
  EXPECT_LE(seen.realtime.Drift(), kToleranceNs);
  EXPECT_LE(seen.monotonic.Drift(), kToleranceNs);
  EXPECT_EQ(machine.Stop(), 0);
}

TEST_F(PauseTest, NothingOfThePausedGuestRuns) {
  Machine machine = Boot();
  ASSERT_TRUE(Adjust(machine, 0).has_value());
  ASSERT_TRUE(Pause(machine).has_value());

  auto answer = std::async(std::launch::async, [&machine] { return Adjust(machine, 0); });
  EXPECT_EQ(answer.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  const int64_t before = HostNs(CLOCK_MONOTONIC);
  ASSERT_TRUE(Resume(machine).has_value());

  const auto clocks = answer.get();
  ASSERT_TRUE(clocks.has_value()) << clocks.error().Message();
  // The guest read its clock after the resume: its next reading is no further away than the host's own time.
  const auto later = Adjust(machine, 0);
  ASSERT_TRUE(later.has_value());
  EXPECT_LE(later->monotonic_ns() - clocks->monotonic_ns(), HostNs(CLOCK_MONOTONIC) - before + kToleranceNs);
  EXPECT_EQ(machine.Stop(), 0);
}

TEST_F(PauseTest, OnlyARunningMachineIsPausedAndOnlyAPausedOneResumed) {
  Machine machine = Boot();

  EXPECT_EQ(Resume(machine).error().code, EBUSY);
  for (int i = 0; i < 50; ++i) {  // from the first instruction on
    ASSERT_TRUE(Pause(machine).has_value());
    EXPECT_EQ(Pause(machine).error().code, EBUSY);
    ASSERT_TRUE(Resume(machine).has_value());
  }

  EXPECT_TRUE(Adjust(machine, 0).has_value());
  EXPECT_EQ(machine.Stop(), 0);
}

TEST_F(PauseTest, APausedMachineCanBeStopped) {
  Machine machine = Boot();
  ASSERT_TRUE(Adjust(machine, 0).has_value());
  ASSERT_TRUE(Pause(machine).has_value());

  EXPECT_EQ(machine.Stop(), 0);
}

}  // namespace
}  // namespace hmvm::test
