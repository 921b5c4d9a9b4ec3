// Turns hmvm-vmm into hmvm-vmm-hostile, which is never installed: the same objects, with a few functions
// wrapped by the linker (--wrap, CMakeLists.txt), so that the shipped sources know nothing of it. When the
// guest writes the number of an attack to a port that the machine does not have, the thread that the guest
// has named makes it.
#include <linux/kvm.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "base/event_loop.h"
#include "security/seccomp.h"
#include "tests/attack/hostile/attack_list.h"
#include "tests/attack/hostile/attacks.h"
#include "vmm/devices/bus.h"
#include "vmm/kvm/kvm.h"

// The real ones and ours, by the names that the linker gives them. `this` is a function's first argument.
namespace hmvm {
bool RealBusWrite(const Bus* bus, uint64_t address, std::span<const std::byte> data) asm("__real_" BUS_WRITE);
bool WrappedBusWrite(const Bus* bus, uint64_t address,
                     std::span<const std::byte> data) asm("__wrap_" BUS_WRITE);
Result<> RealLoopRun(EventLoop* loop) asm("__real_" LOOP_RUN);
Result<> WrappedLoopRun(EventLoop* loop) asm("__wrap_" LOOP_RUN);
Result<> RealEnterRole(ThreadRole role, SeccompMode mode,
                       std::span<const SyscallRule> further) asm("__real_" ENTER_ROLE);
Result<> WrappedEnterRole(ThreadRole role, SeccompMode mode,
                          std::span<const SyscallRule> further) asm("__wrap_" ENTER_ROLE);
}  // namespace hmvm
extern "C" int __real_io_uring_queue_init(unsigned entries, io_uring* ring, unsigned flags);

namespace hmvm {
namespace {

std::array<std::atomic<EventLoop*>, 3> loops;  // by Traitor
thread_local ThreadRole role = ThreadRole::kControl;
uint8_t traitor;

// Before main(), as later there is no environment to read.
test::HostileTargets ReadTargets() {
  // It signals everybody there is: only in a PID namespace of its own.
  if (::getpid() != 1) ::_exit(1);
  test::HostileTargets read;
  const char* const text = std::getenv(test::kTargetsVariable);
  std::istringstream words(text == nullptr ? "" : text);
  words >> read.pid >> read.tcp_port >> read.unix_path >> read.abstract_name;
  return read;
}
test::HostileTargets targets = ReadTargets();

// What it does by itself; nullptr: nothing.
const test::HostileAttack* ReadAttack() {
  const char* const name = std::getenv(test::kAttackVariable);
  for (const test::HostileAttack& attack : test::kHostileAttacks) {
    if (name != nullptr && attack.name == name) return &attack;
  }
  return nullptr;
}
const test::HostileAttack* const own_attack = ReadAttack();
int writes;

void Commit(const test::HostileAttack& attack) {
  const std::string why = test::Attack(attack.name, targets);
  const std::string line = "attack " + std::string(attack.name) + ": " +
                           (why.empty() ? std::string(test::kDone) : std::string(test::kRefused) + why) +
                           "\n";
  (void)!::write(STDERR_FILENO, line.data(), line.size());
}

void Obey(uint8_t number) {
  if (number >= test::kHostileAttackCount) return;
  const test::HostileAttack& attack = test::kHostileAttacks[number];
  if (traitor == static_cast<uint8_t>(test::Traitor::kVcpu)) return Commit(attack);
  // The guest may be faster than the thread.
  std::atomic<EventLoop*>& loop = loops.at(traitor);
  while (loop == nullptr) std::this_thread::yield();
  loop.load()->Post([&attack] { Commit(attack); });
}

}  // namespace

bool WrappedBusWrite(const Bus* bus, uint64_t address, std::span<const std::byte> data) {
  constexpr int kEarly = 40;  // while the guest's kernel looks for its devices
  if (own_attack != nullptr && ++writes == kEarly) Commit(*own_attack);
  if (address == test::kTraitorPort) traitor = std::to_integer<uint8_t>(data[0]) % loops.size();
  if (address == test::kAttackPort) Obey(std::to_integer<uint8_t>(data[0]));
  return RealBusWrite(bus, address, data);
}

Result<> WrappedEnterRole(ThreadRole entered, SeccompMode mode, std::span<const SyscallRule> further) {
  role = entered;
  return RealEnterRole(entered, mode, further);
}

Result<> WrappedLoopRun(EventLoop* loop) {
  loops.at(static_cast<size_t>(role == ThreadRole::kDevice ? test::Traitor::kDevice
                                                           : test::Traitor::kControl)) = loop;
  return RealLoopRun(loop);
}

}  // namespace hmvm

extern "C" int __wrap_io_uring_queue_init(unsigned entries, io_uring* ring, unsigned flags) {
  hmvm::targets.ring = ring;  // the last disk's
  return __real_io_uring_queue_init(entries, ring, flags);
}
