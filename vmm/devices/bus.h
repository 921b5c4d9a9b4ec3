#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace hmvm {

// A device behind an address range. Calls come from vCPU threads, several at once: the device locks.
// `offset` lies inside the range it was added with; the access may end beyond it.
class BusDevice {
 public:
  virtual ~BusDevice() = default;
  virtual void Read(uint64_t offset, std::span<std::byte> data) = 0;
  virtual void Write(uint64_t offset, std::span<const std::byte> data) = 0;
};

// One address space (MMIO, or I/O ports). Filled before the vCPUs run, only read afterwards.
class Bus {
 public:
  // `device` must outlive the bus. EEXIST when the range overlaps another.
  Result<> Add(uint64_t start, uint64_t size_bytes, BusDevice* device);

  // false: nothing is there. Reads are then answered with all ones, as an empty bus does; writes vanish.
  bool Read(uint64_t address, std::span<std::byte> data) const;
  bool Write(uint64_t address, std::span<const std::byte> data) const;

 private:
  struct Range {
    uint64_t start;
    uint64_t size_bytes;
    BusDevice* device;
  };
  const Range* Find(uint64_t address) const;

  std::vector<Range> ranges_;  // sorted by start
};

}  // namespace hmvm
