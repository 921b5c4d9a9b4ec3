// How hmvm-vmm starts and ends, with guests of a few instructions on the hardware platform (which runs those
// on any host): refusals, exit statuses, reports.
#include <sys/socket.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/process.h"
#include "base/ttrpc/client.h"
#include "tests/support/child.h"
#include "tests/support/sandbox.h"
#include "tests/vmm/tiny_guest.h"
#include "vmm/api/vmm.pb.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::EndsWith;
using testing::HasSubstr;

constexpr uint16_t kExitPort = 0x600;
constexpr uint16_t kKeyboardControllerPort = 0x64;

class StartAndEndTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no access to /dev/kvm";
    std::string pattern = fs::temp_directory_path() / "hmvm-start-test-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }

  std::vector<std::string> Command(std::vector<std::string> further) const {
    std::vector<std::string> command = {VmmProgram(), "--kernel=" + kernel().string(), "--platform=hardware",
                                        "--memory_mib=64"};
    std::ranges::move(further, std::back_inserter(command));
    return command;
  }
  Outcome Run(std::vector<std::string> further = {}) const { return RunProgram(Command(std::move(further))); }
  Outcome RunGuest(std::initializer_list<Code> pieces) const {
    WriteGuest(kernel(), pieces);
    return Run({"--console=" + console().string()});
  }
  // One line on standard error that says `words`, and status 1.
  static void ExpectRefusal(const Outcome& outcome, const std::string& words) {
    EXPECT_EQ(outcome.exit_code, 1) << Describe(outcome);
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(words));
  }

  fs::path kernel() const { return dir_ / "kernel"; }
  fs::path console() const { return dir_ / "console"; }
  std::string ConsoleText() const { return ReadFile(console()).value(); }

 private:
  fs::path dir_;
};

TEST_F(StartAndEndTest, MissingKernelIsNamed) { ExpectRefusal(Run(), "kernel': No such file or directory"); }

TEST_F(StartAndEndTest, EmptyKernelIsNamed) {
  std::ofstream(kernel()).flush();

  ExpectRefusal(Run(), "kernel' is empty");
}

TEST_F(StartAndEndTest, ForeignKernelIsNamed) {
  std::ofstream(kernel()) << "no kernel at all";

  ExpectRefusal(Run(), "kernel': neither a vmlinux (ELF) nor a bzImage");
}

TEST_F(StartAndEndTest, TruncatedKernelIsNamed) {
  WriteGuest(kernel(), {Halt()});
  fs::resize_file(kernel(), fs::file_size(kernel()) - 1);

  ExpectRefusal(Run(), "kernel': ELF program header 0 lies beyond the end of the file");
}

TEST_F(StartAndEndTest, MissingInitrdIsNamed) {
  WriteGuest(kernel(), {Halt()});

  ExpectRefusal(Run({"--initrd=/no/such/initrd"}),
                "initrd: open '/no/such/initrd': No such file or directory");
}

TEST_F(StartAndEndTest, ZeroCpusAreRefused) {
  WriteGuest(kernel(), {Halt()});

  ExpectRefusal(Run({"--cpus=0"}), "0 CPUs: a machine needs at least one");
}

TEST_F(StartAndEndTest, TooManyCpusAreRefused) {
  WriteGuest(kernel(), {Halt()});

  ExpectRefusal(Run({"--cpus=1000"}), "1000 CPUs are too many: the hardware platform runs at most ");
}

TEST_F(StartAndEndTest, MemoryBelowTheKernelsNeedNamesTheMinimum) {
  WriteGuest(kernel(), {Halt()});

  ExpectRefusal(Run({"--memory_mib=8"}), "memory of 8 MiB is too small for kernel");
  ExpectRefusal(Run({"--memory_mib=8"}), "at least 26 MiB");
}

TEST_F(StartAndEndTest, MemoryAboveTheHostsIsRefused) {
  WriteGuest(kernel(), {Halt()});

  ExpectRefusal(Run({"--memory_mib=1000000000"}), "memory of 1000000000 MiB is more than the host's ");
  ExpectRefusal(Run({"--memory_mib=18446744073709551615"}), "is more than the host's ");
}

TEST_F(StartAndEndTest, WrongFlagsAreRefused) {
  WriteGuest(kernel(), {Halt()});

  ExpectRefusal(Run({"--platform=mainframe"}), "--platform=mainframe: not one of auto, hardware, ring3");
  ExpectRefusal(Run({"--disks=" + kernel().string()}), "is none of ro:FILE, rw:FILE, none");
  ExpectRefusal(Run({"--disks=ro:/no/such/disk"}), "disk: open '/no/such/disk'");
  ExpectRefusal(Run({"--control=fd:77"}), "inherited descriptor 'fd:77'");
  ExpectRefusal(Run({"left over"}), "unexpected argument 'left over'");
}

TEST_F(StartAndEndTest, ExitPortTellsPowerOffResetAndPanicApart) {
  EXPECT_EQ(RunGuest({OutByte(kExitPort, 0), Halt()}).exit_code, 0);
  EXPECT_EQ(RunGuest({OutByte(kExitPort, 1), Halt()}).exit_code, 2);
  EXPECT_EQ(RunGuest({OutByte(kExitPort, 2), Halt()}).exit_code, 3);
}

TEST_F(StartAndEndTest, BzImageIsEnteredAtItsSixtyFourBitEntryPoint) {
  WriteBzImage(kernel(), {Print("bzImage"), OutByte(kExitPort, 0), Halt()});

  EXPECT_EQ(Run({"--console=" + console().string()}).exit_code, 0);
  EXPECT_EQ(ConsoleText(), "bzImage");
}

TEST_F(StartAndEndTest, KeyboardControllerResets) {
  EXPECT_EQ(RunGuest({OutByte(kKeyboardControllerPort, 0xfe), Halt()}).exit_code, 2);
}

TEST_F(StartAndEndTest, SerialOutputReachesTheConsoleAsItIs) {
  const Outcome outcome = RunGuest({Print("hello\x1b[0m\n"), OutByte(kExitPort, 0), Halt()});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(ConsoleText(), "hello\x1b[0m\n");
}

TEST_F(StartAndEndTest, TripleFaultIsReportedWithRegistersAndBytes) {
  const Outcome outcome = RunGuest({TripleFault()});

  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_THAT(outcome.err, HasSubstr("KVM_EXIT_SHUTDOWN"));
  EXPECT_THAT(outcome.err, HasSubstr("rip=0000000000100000"));
  EXPECT_THAT(outcome.err, HasSubstr("instruction bytes: 0f 0b"));
}

TEST_F(StartAndEndTest, SeveralVcpusEndTogether) {
  WriteGuest(kernel(), {OutByte(kExitPort, 0), Halt()});

  EXPECT_EQ(Run({"--cpus=4"}).exit_code, 0);
}

TEST_F(StartAndEndTest, SigtermEndsAHaltedGuest) {
  WriteGuest(kernel(), {Print("ready"), Halt()});
  Child child(Command({"--console=" + console().string()}));
  ASSERT_TRUE(WaitUntil([&] { return fs::exists(console()) && ConsoleText() == "ready"; }));

  child.Signal(SIGTERM);

  EXPECT_EQ(child.Wait().exit_code, 0);
}

TEST_F(StartAndEndTest, EndOfTheControlChannelEndsAHaltedGuest) {
  WriteGuest(kernel(), {Halt()});
  SocketPair control = MakeSocketPair(SOCK_STREAM).value();
  Process vmm = Process::Start({.arguments = Command({"--control=fd:3"}),
                                .fds = {{control.second.get(), 3}},
                                .die_with_parent = true})
                    .value();
  control.second.reset();

  control.first.reset();

  EXPECT_EQ(vmm.Wait().value(), 0);
}

TEST_F(StartAndEndTest, DescribeKnowsTheMachineAndStopIsAnsweredBeforeTheEnd) {
  WriteGuest(kernel(), {Halt()});
  SocketPair control = MakeSocketPair(SOCK_STREAM).value();
  Process vmm = Process::Start({.arguments = Command({"--control=fd:3", "--cpus=2"}),
                                .fds = {{control.second.get(), 3}},
                                .die_with_parent = true})
                    .value();
  control.second.reset();
  const auto client = TtrpcClient::Create(std::move(control.first));
  constexpr char kService[] = "hmvm.vmm.v1.Vmm";

  const auto described =
      client->Call<vmm::v1::DescribeResponse>(kService, "Describe", vmm::v1::DescribeRequest());
  const auto stopped = client->Call<vmm::v1::StopResponse>(kService, "Stop", vmm::v1::StopRequest());

  ASSERT_TRUE(described.has_value()) << described.error().Message();
  EXPECT_EQ(described->platform(), "hardware");
  EXPECT_EQ(described->cpus(), 2u);
  EXPECT_EQ(described->memory_bytes(), 64u << 20);
  EXPECT_TRUE(stopped.has_value()) << stopped.error().Message();
  EXPECT_EQ(vmm.Wait().value(), 0);
}

}  // namespace
}  // namespace hmvm::test
