// The part of Xen's PV interface that the monitor handles: numbers and structs of public/xen.h, and the bits
// of an x86-64 page-table entry.
#pragma once

#include <cstdint>

namespace hmvm::ring3 {

inline constexpr uint64_t kEntryPresent = 1 << 0;
inline constexpr uint64_t kEntryWritable = 1 << 1;
inline constexpr uint64_t kEntryUser = 1 << 2;
inline constexpr uint64_t kEntryAccessedDirty = 3 << 5;
inline constexpr uint64_t kEntryLarge = 1 << 7;
inline constexpr uint64_t kEntryNoExecute = 1ULL << 63;
inline constexpr uint64_t kEntryAddress = 0x000ffffffffff000;

inline constexpr uint64_t kHypercallMmuUpdate = 1;
inline constexpr uint64_t kHypercallSetGdt = 2;
inline constexpr uint64_t kHypercallStackSwitch = 3;
inline constexpr uint64_t kHypercallFpuTaskswitch = 5;
inline constexpr uint64_t kHypercallUpdateDescriptor = 10;
inline constexpr uint64_t kHypercallMulticall = 13;
inline constexpr uint64_t kHypercallUpdateVaMapping = 14;
inline constexpr uint64_t kHypercallSetSegmentBase = 25;
inline constexpr uint64_t kHypercallMmuextOp = 26;
// The monitor's own, in Xen's range for the architecture: vCPUs whose bit is set in the argument are to leave
// guest mode, as their Cpu::flush_requested has been set.
inline constexpr uint64_t kHypercallInterruptVcpus = 55;

inline constexpr uint64_t kMmuMachphysUpdate = 1;
inline constexpr uint64_t kMmuPreserveAccessedDirty = 2;

enum MmuExtendedCommand : uint32_t {
  kMmuPinL1 = 0,
  kMmuPinL2 = 1,
  kMmuPinL3 = 2,
  kMmuPinL4 = 3,
  kMmuUnpin = 4,
  kMmuNewRoot = 5,
  kMmuFlushLocal = 6,
  kMmuInvlpgLocal = 7,
  kMmuFlushMulti = 8,
  kMmuInvlpgMulti = 9,
  kMmuFlushAll = 10,
  kMmuInvlpgAll = 11,
  kMmuSetLdt = 13,
  kMmuNewUserRoot = 15,
};

struct MmuExtendedOperation {
  uint32_t command;
  uint32_t padding;
  uint64_t argument1;  // a frame, or an address
  uint64_t argument2;
};
static_assert(sizeof(MmuExtendedOperation) == 24);

struct MulticallEntry {
  uint64_t number;
  int64_t result;
  uint64_t arguments[6];
};
static_assert(sizeof(MulticallEntry) == 64);

enum SegmentBase : uint64_t {
  kSegmentFs = 0,
  kSegmentGsUser = 1,
  kSegmentGsKernel = 2,
  kSegmentGsUserSelector = 3,
};

}  // namespace hmvm::ring3
