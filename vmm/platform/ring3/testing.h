// Hypercalls on a small guest without a vCPU: what their test and their fuzz target have in common.
#pragma once

#include <vector>

#include "vmm/platform/ring3/hypercalls.h"
#include "vmm/platform/ring3/monitor/xen_mmu.h"

namespace hmvm::ring3 {

class HypercallsWithoutVcpu : private VcpuThreads {
 public:
  static constexpr uint32_t kVcpus = 2;  // the first of them calls
  static constexpr uint64_t kMemoryBytes = 4 << 20;
  static constexpr uint64_t kRoot = 0x1000;
  static constexpr uint64_t kData = 0x5000;                 // guest-physical, and as far up from kAddress
  static constexpr uint64_t kAddress = 0xffffffff80000000;  // the first 2 MiB of RAM, but for the page at 0

  HypercallsWithoutVcpu()
      : memory_(GuestMemory::Create(kMemoryBytes).value()), window_(Window::Create(memory_, kVcpus).value()) {
    constexpr uint64_t kFlags = kEntryPresent | kEntryWritable;
    const auto set = [this](uint64_t table, uint64_t index, uint64_t entry) {
      static_cast<void>(memory_.Write(GuestAddress{table + 8 * index}, entry | kFlags));
    };
    set(kRoot, 511, 0x2000);
    set(0x2000, 510, 0x3000);
    set(0x3000, 0, 0x4000);
    for (uint64_t i = 1; i < 512; ++i) set(0x4000, i, i * kPageSize);
    window_.cpu(0).kernel_root = kRoot;
  }

  int64_t Call(uint64_t number, const Hypercalls::Arguments& arguments) {
    return calls_.Call(number, arguments);
  }
  // Puts `value` at kData; its address for the guest.
  template <typename T>
  uint64_t Put(const T& value) {
    static_cast<void>(memory_.Write(GuestAddress{kData}, value));
    return kAddress + kData;
  }
  template <typename T>
  T Get() const {
    return memory_.Read<T>(GuestAddress{kData}).value();
  }

  const GuestMemory& memory() const { return memory_; }
  const Window& window() const { return window_; }
  EventChannels& events() { return events_; }
  const Hypercalls& calls() const { return calls_; }
  Bus& ports() { return ports_; }
  SharedVcpu& vcpu(uint32_t index) { return vcpus_[index]; }
  int waits() const { return waits_; }
  int wakes() const { return wakes_; }
  std::span<const uint32_t> polled() const { return polled_; }

 private:
  void WaitForEvent(uint32_t) override { ++waits_; }
  void WaitForPort(uint32_t, std::span<const uint32_t> ports, uint64_t) override {
    polled_.assign(ports.begin(), ports.end());
  }
  void SetTimer(uint32_t, uint64_t) override {}
  void CancelTimer(uint32_t) override {}
  void Yield() override {}
  void Wake(uint32_t) override { ++wakes_; }
  void LeaveGuestMode(uint64_t) override {}

  GuestMemory memory_;
  Window window_;
  Clock clock_{1'000'000, Clock::ReadTsc()};
  EventChannels events_{&window_.shared_info(), kVcpus};
  std::array<SharedVcpu, kVcpus> vcpus_;
  Bus ports_;
  int waits_ = 0;
  int wakes_ = 0;
  std::vector<uint32_t> polled_;
  Hypercalls calls_{{.memory = &memory_,
                     .window = &window_,
                     .clock = &clock_,
                     .ports = &ports_,
                     .events = &events_,
                     .threads = this,
                     .vcpus = vcpus_},
                    0};
};

}  // namespace hmvm::ring3
