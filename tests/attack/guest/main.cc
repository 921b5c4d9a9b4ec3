#include "tests/attack/guest/attacker.h"

// What the compiler calls by itself.
extern "C" void* memset(void* to, int value, unsigned long bytes) {
  auto* const at = static_cast<volatile char*>(to);
  for (unsigned long i = 0; i < bytes; ++i) at[i] = static_cast<char>(value);
  return to;
}
extern "C" void* memcpy(void* to, const void* from, unsigned long bytes) {
  auto* const at = static_cast<volatile char*>(to);
  for (unsigned long i = 0; i < bytes; ++i) at[i] = static_cast<const char*>(from)[i];
  return to;
}

namespace attack {
namespace {

constexpr uint16_t kSerialPort = 0x3f8;

char command_line[1024];
Dice dice[2] = {Dice(1), Dice(2)};
volatile bool second_may_end;
volatile bool second_has_ended;
bool begun;

// The value of the last "NAME=" on the command line.
const char* Argument(const char* name) {
  const char* found = "";
  for (const char* at = command_line; *at != 0; ++at) {
    const char* a = at;
    const char* b = name;
    while (*b != 0 && *a == *b) ++a, ++b;
    if (*b == 0) found = a;
  }
  return found;
}

bool Is(const char* text, const char* word) {
  while (*word != 0 && *text == *word) ++text, ++word;
  return *word == 0 && (*text == 0 || *text == ' ');
}

void Begin() {
  uint64_t seed = 0;
  for (const char* c = Argument("seed="); *c >= '0' && *c <= '9'; ++c) {
    seed = seed * 10 + static_cast<uint64_t>(*c - '0');
  }
  dice[0] = Dice(2 * seed + 1);
  dice[1] = Dice(2 * seed + 2);
  StartSecondVcpu();
}

[[noreturn]] void BeQuiet() {
  second_may_end = true;
  while (!second_has_ended) asm volatile("pause");
  Print("quiet\n");
  Halt(0);
}

void Attack() {
  const char* const name = Argument("attack=");
  if (Is(name, "defects")) return AttackWithDefects();
  if (Is(name, "driver")) return AttackAsDriver(dice[0]);
  if (Is(name, "registers")) return AttackRegisters(dice[0]);
  if (Is(name, "ports")) return AttackPorts(dice[0]);
  if (Is(name, "hole")) return AttackHole(dice[0]);
  if (Is(name, "races")) return AttackWithRaces(dice[0]);
  if (Is(name, "storms")) return AttackWithStorms(dice[0]);
  if (Is(name, "disabled")) return LeaveQueuesDisabled();
  if (Is(name, "huge")) return LeaveHugeRequests();
  Print("FAIL: no such attack\n");
}

[[noreturn]] void Second() {
  const char* const name = Argument("attack=");
  while (!second_may_end) {
    if (Is(name, "races")) {
      ChangeRings(dice[1]);
    } else if (Is(name, "storms")) {
      StormOfSecondVcpu(dice[1]);
    } else {
      break;
    }
  }
  second_has_ended = true;
  Halt(1);
}

}  // namespace

void Print(const char* text) {
  for (; *text != 0; ++text) Out(kSerialPort, 1, static_cast<unsigned char>(*text));
}

void PrintNumber(uint64_t number) {
  char digits[24];
  char* at = digits + sizeof(digits);
  *--at = 0;
  do {
    *--at = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  Print(at);
}

}  // namespace attack

// From the platform's entry code. `cpus` says whether there will be a second vCPU.
extern "C" void ReadCommandLine(const char* line, uint64_t has_second) {
  unsigned i = 0;
  for (; line[i] != 0 && i + 1 < sizeof(attack::command_line); ++i) attack::command_line[i] = line[i];
  attack::command_line[i] = 0;
  if (has_second == 0) attack::second_has_ended = true;
}

// Where the vCPU goes on from its start, and from each interrupt that was let in.
extern "C" [[noreturn]] void Run(uint64_t vcpu) {
  if (vcpu == 1) attack::Second();
  if (!attack::begun) {
    attack::begun = true;
    attack::Begin();
  }
  attack::Attack();
  attack::BeQuiet();
}

// A trap that no attack is meant to cause.
extern "C" [[noreturn]] void Trapped() {
  attack::Print("FAIL: a trap\n");
  attack::Halt(0);
}
