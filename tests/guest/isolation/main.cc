// A hostile program as the first process of a guest on the ring3 platform: it reads, writes and executes
// every page that the guest's kernel and the monitor have mapped, jumps to every byte that it can reach of
// them with registers of its choosing, and looks for anything of theirs that a system call or a fault leaves
// in its registers. Powers the machine off when nothing gave way; else it says what did on the kernel's log
// and exits, and the kernel panics.
//
// What must hold is written here, not how the platform does it: no access, no privilege, no leak, no crash.
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>

#include <cstdint>
#include <vector>

#include "tests/guest/isolation/gates.h"
#include "tests/guest/isolation/instructions.h"
#include "tests/guest/isolation/pages.h"
#include "tests/guest/isolation/program.h"
#include "tests/guest/isolation/registers.h"

using namespace isolation;

int main() {
  ::mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  ::mkdir("/proc", 0555);
  ::mount("proc", "/proc", "proc", 0, nullptr);
  OpenLog();
  TakeSignals();
  UseSignalStack();
  std::vector<uint64_t> memory(1 << 17);
  Random random(1);
  for (uint64_t& word : memory) word = random.Next();

  const std::vector<uint64_t> gates = CheckMonitor();
  CheckKernel();
  CheckGatesOnAllProcessors(gates);
  CheckRegisters();
  CheckSystemCalls();
  CheckInstructions();
  RunAnyBytes();

  Random again(1);
  for (const uint64_t word : memory) {
    if (word != again.Next()) FAIL("the program's memory changed");
  }
  Log(6, "%lu attacks, %zu gate pages, %d failures", tried.load(), gates.size(), failures.load());
  if (failures == 0) ::reboot(RB_POWER_OFF);
  return 1;
}
