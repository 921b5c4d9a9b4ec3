// A machine written into files and brought to life from them: by the agent's answers, which come from all of
// the guest. Nothing is said of how long anything takes.
#include <time.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <random>
#include <sstream>
#include <thread>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/support/child.h"
#include "tests/support/container_fixture.h"
#include "tests/support/machine.h"
#include "tests/vmm/tiny_guest.h"
#include "vmm/snapshot/state_file.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::HasSubstr;
using testing::Not;

int64_t HostNs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

class SnapshotTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    std::ranges::replace(name, '/', '-');
    folder_ = sandbox_->dir() / name;
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path snapshot() const { return folder_ / "snapshot"; }

  Machine::Options Defaults() const {
    Machine::Options options;
    options.vmm = VmmProgram();
    options.kernel = GuestKernel();
    options.initramfs = GuestInitramfs();
    options.console = folder_ / "console";
    return options;
  }
  Machine::Options Restored() const {
    Machine::Options options = Defaults();
    options.restore = snapshot();
    options.console = folder_ / "restored";
    return options;
  }
  static Machine Start(const Machine::Options& options) {
    Result<Machine> machine = Machine::Start(options);
    if (!machine.has_value()) throw std::runtime_error(machine.error().Message());  // the test fails with it
    return std::move(*machine);
  }
  void Snapshot(Machine& machine, bool stop_after = false) const {
    vmm::v1::SnapshotRequest request;
    request.set_stop_after(stop_after);
    const auto taken = machine.Snapshot(snapshot(), request);
    ASSERT_TRUE(taken.has_value()) << taken.error().Message() << Console("console");
  }
  // A booted guest whose agent is at rest, in snapshot().
  void SnapshotOfAgent() const {
    Machine machine = Start(Defaults());
    ASSERT_TRUE(AskAgent(machine).has_value()) << Console("console");
    Snapshot(machine, /*stop_after=*/true);
    EXPECT_EQ(machine.Wait(), 0);
  }
  static Result<agent::v1::DescribeResponse> AskAgent(Machine& machine) {
    return machine.Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest());
  }
  std::string Console(const char* name) const { return "\n" + ReadFile(folder_ / name).value_or(""); }

  // `hmvm-vmm --restore` of what is in snapshot(), which is expected to refuse it.
  Outcome RunRefused(const std::vector<std::string>& further = {}) const {
    std::vector<std::string> command = {VmmProgram(), "--restore=" + (snapshot() / "machine.pb").string(),
                                        "--memory=" + (snapshot() / "memory").string()};
    command.insert(command.end(), further.begin(), further.end());
    return RunProgram(command);
  }
  static void ExpectRefusal(const Outcome& outcome, const std::string& words) {
    EXPECT_EQ(outcome.exit_code, 1) << Describe(outcome);
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(words));
  }
  // Writes machine.pb anew with another state, whose checksum is right.
  void ChangeState(const std::function<void(snapshot::MachineState&)>& change) const {
    const fs::path path = snapshot() / "machine.pb";
    auto state = DecodeState(ReadFile(path).value());
    ASSERT_TRUE(state.has_value()) << state.error().Message();
    change(*state);
    ASSERT_TRUE(WriteFileAtomic(path, EncodeState(*state)).has_value());
  }

  using State = snapshot::MachineState;
  void ExpectRefusalOfChange(const std::function<void(State&)>& change, const char* words) const {
    const std::string good = ReadFile(snapshot() / "machine.pb").value();
    ChangeState(change);
    ExpectRefusal(RunRefused(), words);
    ASSERT_TRUE(WriteFileAtomic(snapshot() / "machine.pb", good).has_value());
  }
  bool IsOfRing3() const { return DecodeState(ReadFile(snapshot() / "machine.pb").value())->has_ring3(); }

  fs::path folder_;
};

TEST_F(SnapshotTest, AKilledMachineGoesOnFromItsSnapshotAsOftenAsOneLikes) {
  Machine machine = Start(Defaults());
  ASSERT_TRUE(AskAgent(machine).has_value()) << Console("console");
  Snapshot(machine);
  ASSERT_TRUE(AskAgent(machine).has_value()) << Console("console");  // the snapshot does it no harm
  machine.Signal(SIGKILL);
  EXPECT_EQ(machine.Wait(), 128 + SIGKILL);

  for (int i = 0; i < 3; ++i) {
    Machine::Options options = Restored();
    options.memory_verified = i > 0;
    Machine restored = Start(options);
    const auto answer = AskAgent(restored);
    ASSERT_TRUE(answer.has_value()) << answer.error().Message() << Console("restored");
    EXPECT_EQ(answer->cpus(), 1u);
    EXPECT_EQ(restored.Stop(), 0);
  }
}

TEST_F(SnapshotTest, ARestoredMachineCanBePutIntoASnapshotAgain) {
  SnapshotOfAgent();
  for (int i = 0; i < 3; ++i) {
    Machine restored = Start(Restored());
    ASSERT_TRUE(AskAgent(restored).has_value()) << Console("restored");
    const fs::path next = folder_ / "next";
    const auto taken = restored.Snapshot(next);
    ASSERT_TRUE(taken.has_value()) << taken.error().Message();
    EXPECT_EQ(restored.Stop(), 0);
    fs::remove_all(snapshot());
    fs::rename(next, snapshot());
  }
}

TEST_F(SnapshotTest, HeldFromTheStartItWaitsForResume) {
  SnapshotOfAgent();
  Machine::Options options = Restored();
  options.paused = true;
  Machine restored = Start(options);
  auto answer = std::async(std::launch::async, [&restored] { return AskAgent(restored); });
  EXPECT_EQ(answer.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);

  ASSERT_TRUE(restored.Control<vmm::v1::ResumeResponse>("Resume", vmm::v1::ResumeRequest()).has_value());

  EXPECT_TRUE(answer.get().has_value()) << Console("restored");
  EXPECT_EQ(restored.Stop(), 0);
}

TEST_F(SnapshotTest, WithoutFilesItIsRefusedAndTheGuestGoesOn) {
  Machine machine = Start(Defaults());
  ASSERT_TRUE(AskAgent(machine).has_value()) << Console("console");

  EXPECT_FALSE(
      machine.Control<vmm::v1::SnapshotResponse>("Snapshot", vmm::v1::SnapshotRequest()).has_value());

  EXPECT_TRUE(AskAgent(machine).has_value());
  EXPECT_EQ(machine.Stop(), 0);
}

// The guest's own clock counts its own time: not that between snapshot and restore.
TEST_F(SnapshotTest, ClocksGoOnWhereTheyWere) {
  const auto adjust = [](Machine& machine, int64_t step_ns) {
    agent::v1::AdjustClockRequest request;
    request.set_step_ns(step_ns);
    return machine.Agent<agent::v1::AdjustClockResponse>("AdjustClock", request);
  };
  Machine machine = Start(Defaults());
  const auto before = adjust(machine, 0);
  ASSERT_TRUE(before.has_value()) << before.error().Message();
  const int64_t asked_ns = HostNs();
  Snapshot(machine, /*stop_after=*/true);
  EXPECT_EQ(machine.Wait(), 0);
  const int64_t stopped_ns = HostNs();
  std::this_thread::sleep_for(std::chrono::seconds(2));

  const int64_t restored_ns = HostNs();
  Machine restored = Start(Restored());
  const auto after = adjust(restored, 0);
  const int64_t answered_ns = HostNs();
  ASSERT_TRUE(after.has_value()) << after.error().Message() << Console("restored");

  EXPECT_GE(after->monotonic_ns(), before->monotonic_ns());
  constexpr int64_t kRoundTripNs = 1'000'000'000;  // of the first question, before asked_ns
  EXPECT_LE(after->monotonic_ns() - before->monotonic_ns(),
            (stopped_ns - asked_ns) + (answered_ns - restored_ns) + kRoundTripNs);
  EXPECT_EQ(restored.Stop(), 0);
}

TEST_F(SnapshotTest, WhatDoesNotFitIsRefusedInOneLine) {
  SnapshotOfAgent();
  const std::string good = ReadFile(snapshot() / "machine.pb").value();
  const auto refused = [&](const std::function<void(State&)>& change, const char* words) {
    ExpectRefusalOfChange(change, words);
  };

  refused([](State& s) { s.mutable_host()->set_cpu_signature(1); }, "does not fit this host");
  refused([](State& s) { s.mutable_host()->mutable_cpuid(1)->set_ecx(0); }, "CPUID leaf 0x1 is different");
  refused([](State& s) { s.mutable_host()->set_xcr0(1); }, "XCR0");
  refused([](State& s) { s.set_platform("other"); }, "platform is unknown");
  refused([](State& s) { s.set_cpus(0); }, "has no vCPUs");
  refused([](State& s) { s.set_cpus(1000); }, "CPUs are too many");
  refused([](State& s) { s.mutable_vcpus()->Clear(); }, "has no vCPUs");
  refused([](State& s) { s.set_memory_bytes(s.memory_bytes() / 2); }, "another layout");
  refused([](State& s) { s.mutable_virtio()->RemoveLast(); }, "virtio devices in place of");
  refused([](State& s) { s.mutable_virtio(0)->set_status(8); }, "device status 8");
  refused([](State& s) { s.mutable_virtio(0)->mutable_queues(0)->set_used(1ull << 40); }, "used ring");
  refused([](State& s) { s.mutable_vcpus(0)->mutable_xsave()->resize(100); }, "XSAVE area too small");
  ExpectRefusal(RunRefused({"--disks=none"}), "has 0 disks, and 1 are given");
  ExpectRefusal(RunRefused({"--cpus=2"}), "the snapshot's machine has 1");
  ExpectRefusal(RunRefused({"--cpus=0"}), "the snapshot's machine has 1");
  std::string newer = good;
  newer[8] = 99;
  ASSERT_TRUE(WriteFileAtomic(snapshot() / "machine.pb", newer).has_value());
  ExpectRefusal(RunRefused(), "snapshot format 99");
  ASSERT_TRUE(WriteFileAtomic(snapshot() / "machine.pb", good.substr(0, good.size() / 2)).has_value());
  ExpectRefusal(RunRefused(), "cut or damaged");
}

TEST_F(SnapshotTest, AVcpuThatIsOnCannotBeLeftOut) {
  Machine::Options options = Defaults();
  options.cpus = 2;
  Machine machine = Start(options);
  ASSERT_TRUE(AskAgent(machine).has_value()) << Console("console");
  Snapshot(machine, /*stop_after=*/true);
  EXPECT_EQ(machine.Wait(), 0);

  ExpectRefusal(RunRefused({"--cpus=1"}), "vCPU 1 is on, and can't be left out");
}

TEST_F(SnapshotTest, WhatDoesNotFitTheRing3PlatformIsRefusedInOneLine) {
  SnapshotOfAgent();
  if (!IsOfRing3()) GTEST_SKIP() << "this host has no use for the ring3 platform";
  const auto refused = [&](const std::function<void(snapshot::Ring3State&)>& change, const char* words) {
    ExpectRefusalOfChange([&](State& state) { change(*state.mutable_ring3()); }, words);
  };
  using Ring3 = snapshot::Ring3State;

  refused([](Ring3& s) { s.set_monitor_hash(1); }, "another build's ring3 monitor");
  refused([](Ring3& s) { s.mutable_vcpus(0)->set_vcpu_info(1ull << 40); }, "vcpu_info");
  refused([](Ring3& s) { s.set_clock_areas(0, s.clock_areas(0) + 1); }, "clock area");
  refused([](Ring3& s) { s.mutable_vcpus(0)->set_runstate(9); }, "no runstate");
  refused([](Ring3& s) { s.mutable_ports(0)->set_vcpu(7); }, "can't be bound so");
  refused([](Ring3& s) { s.set_system_time_ns(UINT64_MAX); }, "system time");
  ExpectRefusal(RunRefused({"--platform=hardware"}), "platform is ring3");
}

// A KVM that is not known to be the one that the snapshot was made under is probed, and found the same.
TEST_F(SnapshotTest, AnotherBootOfTheHostIsProbedAnew) {
  SnapshotOfAgent();
  ChangeState([](snapshot::MachineState& state) { state.mutable_host()->set_kvm_instance("another"); });

  Machine restored = Start(Restored());

  EXPECT_TRUE(AskAgent(restored).has_value()) << Console("restored");
  EXPECT_EQ(restored.Stop(), 0);
}

TEST_F(SnapshotTest, InspectSaysWhatItIs) {
  SnapshotOfAgent();

  const Outcome outcome =
      RunProgram({VmmProgram(), "--inspect_snapshot=" + (snapshot() / "machine.pb").string()});

  ASSERT_EQ(outcome.exit_code, 0) << Describe(outcome);
  const auto report = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(report["cpus"], 1);
  EXPECT_EQ(report["memory_bytes"], 128 << 20);
  EXPECT_EQ(report["devices"].size(), 3u);
  ExpectRefusal(RunProgram({VmmProgram(), "--inspect_snapshot=" + (snapshot() / "memory").string()}),
                "snapshot");
}

// Either file with one bit changed: refused in one line, or, where the bit means nothing, the same guest.
TEST_F(SnapshotTest, AFlippedBitIsNeverAnotherGuest) {
  SnapshotOfAgent();
  std::mt19937_64 random(1);
  int harmless = 0;
  for (int i = 0; i < 200; ++i) {
    const fs::path path = snapshot() / (i % 2 == 0 ? "machine.pb" : "memory");
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    const auto place = static_cast<std::streamoff>(random() % fs::file_size(path));
    file.seekg(place);
    const auto byte = static_cast<char>(file.get());
    const auto flipped = static_cast<char>(byte ^ 1 << random() % 8);
    file.seekp(place);
    file.put(flipped).flush();
    Machine::Options options = Restored();
    Machine machine = Start(options);
    if (AskAgent(machine).has_value()) {
      ++harmless;
      EXPECT_EQ(path.filename(), "memory") << place;  // a hole of the sparse file that nothing maps
      EXPECT_EQ(machine.Stop(), 0);
    } else {
      EXPECT_EQ(machine.Wait(), 1) << place << Console("restored");
    }
    file.seekp(place);
    file.put(byte).flush();
  }
  EXPECT_LT(harmless, 100);
}

// What snapshot_check says: it looks after its registers, its disk and its clock by itself.
class GoingOnTest : public SnapshotTest, public testing::WithParamInterface<unsigned> {
 protected:
  void SetUp() override {
    SnapshotTest::SetUp();
    const Outcome made = RunProgram({MAKE_INITRAMFS, SNAPSHOT_CHECK, (folder_ / "initrd").string()});
    ASSERT_EQ(made.exit_code, 0) << Describe(made);
    std::ofstream(folder_ / "disk").flush();
    fs::resize_file(folder_ / "disk", 8 << 20);
  }
  Machine::Options WithDisk(Machine::Options options, const char* disk) const {
    options.initramfs = folder_ / "initrd";
    options.cpus = GetParam();
    options.disks = {"rw:" + (folder_ / disk).string()};
    return options;
  }
  // The first numbers of all ticks so far.
  std::vector<uint64_t> Ticks(const char* console) const {
    std::istringstream lines(Console(console));
    std::vector<uint64_t> ticks;
    for (std::string line; std::getline(lines, line);) {
      uint64_t tick = 0;
      if (std::sscanf(line.c_str(), "tick %lu ", &tick) == 1) ticks.push_back(tick);
    }
    return ticks;
  }
  void WaitForTicks(const char* console, size_t count) const {
    for (int i = 0; i < 6000 && Ticks(console).size() < count; ++i) {
      if (Console(console).find("WRONG") != std::string::npos) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_GE(Ticks(console).size(), count) << Console(console);
    ASSERT_THAT(Console(console), Not(HasSubstr("WRONG")));
  }
};

TEST_P(GoingOnTest, RegistersDiskAndTimersAreAsTheyWere) {
  {
    Machine machine = Start(WithDisk(Defaults(), "disk"));
    WaitForTicks("console", 5);
    Snapshot(machine, /*stop_after=*/true);
    EXPECT_EQ(machine.Wait(), 0);
  }
  const std::vector<uint64_t> before = Ticks("console");
  for (const char* disk : {"one", "two"}) {
    fs::remove(folder_ / "restored");
    fs::copy_file(folder_ / "disk", folder_ / disk);
    Machine restored = Start(WithDisk(Restored(), disk));
    WaitForTicks("restored", 10);
    EXPECT_LE(Ticks("restored").front(), before.back() + 1);
    EXPECT_THAT(Console("restored"), HasSubstr("cpus " + std::to_string(GetParam()) + " disk 1"));
    EXPECT_EQ(restored.Stop(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Vcpus, GoingOnTest, testing::Values(1u, 2u, 4u));

// The hardware platform runs a guest of a few instructions on any host.
TEST_F(SnapshotTest, AMachineOfTheHardwarePlatformGoesOn) {
  constexpr uint16_t kExitPort = 0x600;
  const Code read_tsc = {0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0};  // rdtsc; rax = all of it
  const Code keep = {0x48, 0x89, 0xc3};                                          // mov %rax, %rbx
  const Code later = {0x48, 0x81, 0xc3, 0xff, 0xff, 0xff, 0x7f};                 // add $0x7fffffff, %rbx
  const Code until = {0x48, 0x39, 0xd8, 0x72, 0xf2};  // cmp %rbx, %rax; jb to the rdtsc before
  WriteGuest(folder_ / "kernel", {Print("begin "), read_tsc, keep, later, later, later, later, read_tsc,
                                  until, Print("end"), OutByte(kExitPort, 0), Halt()});
  Machine::Options options = Defaults();
  options.kernel = folder_ / "kernel";
  options.platform = "hardware";
  Machine machine = Start(options);
  while (Console("console").find("begin") == std::string::npos) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Snapshot(machine, /*stop_after=*/true);
  EXPECT_EQ(machine.Wait(), 0);
  EXPECT_THAT(Console("console"), Not(HasSubstr("end")));

  Machine restored = Start(Restored());

  EXPECT_EQ(restored.Wait(), 0);
  EXPECT_EQ(Console("restored"), "\nend");
}

}  // namespace
}  // namespace hmvm::test
