// What an attacking kernel is made of: a bare program that is its guest's kernel, on either platform. The
// command line chooses: "attack=NAME seed=N" at its end. What it finds it prints to the serial port; when it
// has done its worst it prints "quiet" and halts, with the devices as the attack has left them.
#pragma once

#include <cstdint>

namespace attack {

// The machine, by ring3.cc or hardware.cc.
constexpr bool kRing3 = ATTACK_RING3;
constexpr uint64_t kHoleStart = 0xc0000000;
constexpr uint64_t kHoleEnd = 0x100000000;
constexpr uint64_t kDevices = 0xd0000000;
constexpr uint64_t kDeviceBytes = 0x1000;
constexpr uint64_t kPlatformStart = 0xe0000000;  // the ring3 monitor's memory
constexpr uint64_t kPlatformEnd = 0xe2000000;
// RAM that nothing of ours is in: the tests give 64 MiB.
constexpr uint64_t kScratch = 0x2000000;
constexpr uint64_t kScratchBytes = 0x1000000;
constexpr uint64_t kRamEnd = 64 << 20;

uint64_t PhysicalOf(const volatile void* object);  // of this program's own
volatile uint8_t* At(uint64_t physical);           // below 4 GiB
void StartSecondVcpu();                            // calls Second(); only if there is one
void AllowInterrupts(uint64_t vcpu);               // which lead to Run()
void Interrupt(uint64_t vcpu, uint64_t random);    // other than a device's
void Yield();                                      // lets the host run other threads
void TouchFarAddresses();                          // above 4 GiB
[[noreturn]] void Halt(uint64_t vcpu);

template <typename T>
T ReadAt(uint64_t physical) {
  return *reinterpret_cast<volatile T*>(At(physical));
}
template <typename T>
void WriteAt(uint64_t physical, T value) {
  *reinterpret_cast<volatile T*>(At(physical)) = value;
}

inline uint32_t In(uint16_t port, unsigned bytes) {
  uint32_t value = 0;
  if (bytes == 1) asm volatile("in %%dx, %%al" : "+a"(value) : "d"(port));
  if (bytes == 2) asm volatile("in %%dx, %%ax" : "+a"(value) : "d"(port));
  if (bytes == 4) asm volatile("in %%dx, %%eax" : "+a"(value) : "d"(port));
  return value;
}
inline void Out(uint16_t port, unsigned bytes, uint32_t value) {
  if (bytes == 1) asm volatile("out %%al, %%dx" : : "a"(value), "d"(port));
  if (bytes == 2) asm volatile("out %%ax, %%dx" : : "a"(value), "d"(port));
  if (bytes == 4) asm volatile("out %%eax, %%dx" : : "a"(value), "d"(port));
}

// Numbers of one sequence a vCPU.
class Dice {
 public:
  explicit constexpr Dice(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 | 1) {}
  uint64_t Any() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1d;
  }
  uint64_t Below(uint64_t end) { return (Any() >> 16) % end; }
  bool OneIn(uint64_t count) { return Below(count) == 0; }

 private:
  uint64_t state_;
};

void Print(const char* text);
void PrintNumber(uint64_t number);

// The attacks: each returns when it has done its worst.
void AttackWithDefects();            // defects.cc: each defect of a ring by itself, and what comes of it
void AttackAsDriver(Dice& dice);     // driver_attack.cc: a driver that does anything
void AttackRegisters(Dice& dice);    // addresses.cc, as the next two
void AttackPorts(Dice& dice);        //
void AttackHole(Dice& dice);         //
void AttackWithRaces(Dice& dice);    // races.cc: one vCPU changes what the other has given to the device
void ChangeRings(Dice& dice);        //   ... the second vCPU's part of it, a moment's
void AttackWithStorms(Dice& dice);   // storms.cc: interrupts and notifications
void StormOfSecondVcpu(Dice& dice);  //
void LeaveQueuesDisabled();          // storms.cc: notifications to queues that were never set up
void LeaveHugeRequests();            // storms.cc: reads of hundreds of GiB, under way when it is quiet

}  // namespace attack
