// Every instruction, access and signal frame that ends in a signal does so in the guest as on the host, by
// the word of a program that runs in both.
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

class SignalTest : public ContainerTest {
 protected:
  static void SetUpTestSuite() {
    ContainerTest::SetUpTestSuite();
    if (sandbox_ == nullptr) return;
    for (const std::string name : {"signal_check", "debug_check"}) {
      std::ifstream file(BuildDir() / "tests" / name, std::ios::binary);
      const std::string program{std::istreambuf_iterator<char>(file), {}};
      ASSERT_FALSE(program.empty()) << name;
      const std::string install = "cat > /bin/" + name + " && chmod 755 /bin/" + name;
      ASSERT_EQ(ExecWith({"-i"}, {"sh", "-c", install}, program).exit_code, 0);
    }
  }
};

// "name: what happened", by name.
std::map<std::string, std::string> Lines(const std::string& text) {
  std::map<std::string, std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    const size_t colon = line.find(": ");
    lines[line.substr(0, colon)] = colon == std::string::npos ? "" : line.substr(colon + 2);
  }
  return lines;
}

TEST_F(SignalTest, EachSignalIsTheHosts) {
  const Outcome host = RunProgram({BuildDir() / "tests/signal_check"});
  ASSERT_EQ(host.exit_code, 0) << Describe(host);
  std::map<std::string, std::string> expected = Lines(host.out);
  // docs/ring3.md, "Single-stepping and debugging in the guest": the kernel's half of the address space is
  // never returned to, and a system call with a stack that no address is a fault.
  expected["return to the kernel"] =
      "SIGSEGV code 128 address 0 rip 0xffffffff81000000 trap 13 error 0 cr2 0";
  expected["system call with a stack at no canonical address"] =
      "SIGBUS code 128 address 0 rip 0x10000006 trap 12 error 0 cr2 0";
  expected["... and a system call"] = "SIGBUS code 128 address 0 rip 0x1000000a trap 12 error 0 cr2 0";

  const Outcome guest = Exec({"signal_check"});

  EXPECT_EQ(guest.exit_code, 0) << Describe(guest);
  EXPECT_THAT(Lines(guest.out), testing::ContainerEq(expected));
}

// Single steps over everything, breakpoints, registers, system call stops, seccomp, perf's software events.
TEST_F(SignalTest, DebuggersSeeWhatTheySeeOnTheHost) {
  const Outcome host = RunProgram({BuildDir() / "tests/debug_check"});
  ASSERT_EQ(host.exit_code, 0) << Describe(host);

  // Without the filter of system calls, as on the host.
  const Outcome guest = ExecWith({"--privileged"}, {"debug_check"});

  EXPECT_EQ(guest.exit_code, 0) << Describe(guest);
  EXPECT_THAT(Lines(guest.out), testing::ContainerEq(Lines(host.out)));
}

// Rather than taken and never seen again.
TEST_F(SignalTest, WhatThePlatformHasNotIsRefused) {
  const Outcome guest = ExecWith({"--privileged"}, {"debug_check", "missing"});

  EXPECT_EQ(guest.out,
            "perf breakpoint: Operation not supported\n"
            "ptrace breakpoint: Operation not supported\n"
            "modify_ldt: Function not implemented\n");
}

// A program finds the host's selector of 32-bit code, whatever descriptor table the guest has; it gets no
// further.
TEST_F(SignalTest, ThirtyTwoBitCodeEndsWithASignal) {
  const std::string bad_code = "SIGSEGV code 128 address 0 rip 0x1000000a trap 13 error 0x20 cr2 0";
  const std::map<std::string, std::string> expected = {
      {"int 0x80", "SIGSEGV code 128 address 0 rip 0x10000000 trap 13 error 0x402 cr2 0"},
      {"32-bit code", "SIGSEGV code 128 address 0 rip 0x1000000b trap 13 error 0x20 cr2 0"},
      {"32-bit code, ud2", bad_code},
      {"32-bit code, hlt", bad_code},
      {"32-bit code, page fault", bad_code},
      {"32-bit code, int 0x80", bad_code},
      {"32-bit code, syscall", bad_code},
      {"32-bit code, sysenter", bad_code},
      {"32-bit code, an instruction of 32 bits",
       "SIGSEGV code 128 address 0 rip 0x1000000c trap 13 error 0x20 cr2 0"},
      {"32-bit code, division by zero", bad_code},
      {"32-bit code, an endless loop", bad_code},
      {"32-bit code, back to 64 bits",
       "SIGILL code 2 address 0x10000011 rip 0x10000011 trap 6 error 0 cr2 0"},
  };

  const Outcome guest = Exec({"signal_check", "legacy"});

  EXPECT_EQ(guest.exit_code, 0) << Describe(guest);
  EXPECT_THAT(Lines(guest.out), testing::ContainerEq(expected));
}

}  // namespace
}  // namespace hmvm::test
