// The part of Xen's PV interface that the VMM answers: numbers and structs of Xen's public headers (xen.h,
// event_channel.h, vcpu.h, memory.h, version.h, callback.h, sched.h), x86-64. Names follow them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hmvm::ring3 {

// ---- hypercalls that reach the VMM; the rest are the monitor's (monitor/xen_mmu.h) ----
inline constexpr uint64_t kHypercallSetTrapTable = 0;
inline constexpr uint64_t kHypercallPlatformOp = 7;
inline constexpr uint64_t kHypercallSetDebugreg = 8;
inline constexpr uint64_t kHypercallGetDebugreg = 9;
inline constexpr uint64_t kHypercallMemoryOp = 12;
inline constexpr uint64_t kHypercallXenVersion = 17;
inline constexpr uint64_t kHypercallConsoleIo = 18;
inline constexpr uint64_t kHypercallVmAssist = 21;
inline constexpr uint64_t kHypercallVcpuOp = 24;
inline constexpr uint64_t kHypercallSchedOp = 29;
inline constexpr uint64_t kHypercallCallbackOp = 30;
inline constexpr uint64_t kHypercallEventChannelOp = 32;
inline constexpr uint64_t kHypercallPhysdevOp = 33;

// ---- data the guest and we share ----
struct PvclockTime {  // vcpu_time_info, the KVM and Xen pvclock ABI
  uint32_t version;   // odd while it is written
  uint32_t padding;
  uint64_t tsc_timestamp;
  uint64_t system_time;  // ns at tsc_timestamp
  uint32_t tsc_to_system_mul;
  int8_t tsc_shift;
  uint8_t flags;
  uint8_t padding2[2];
};
static_assert(sizeof(PvclockTime) == 32);
inline constexpr uint8_t kPvclockTscStable = 1;
inline constexpr uint8_t kPvclockGuestStopped = 2;  // the guest clears it

struct VcpuInfo {
  uint8_t upcall_pending;
  uint8_t upcall_mask;
  uint8_t padding[6];
  uint64_t pending_sel;  // a bit a word of SharedInfo::pending
  uint64_t cr2;
  uint64_t padding2;
  PvclockTime time;
};
static_assert(sizeof(VcpuInfo) == 64);

inline constexpr uint32_t kEventWords = 64;
inline constexpr uint32_t kEventChannels = kEventWords * 64;
inline constexpr uint32_t kLegacyVcpus = 32;

struct SharedInfo {
  VcpuInfo vcpu_info[kLegacyVcpus];
  uint64_t pending[kEventWords];
  uint64_t mask[kEventWords];
  uint32_t wc_version;
  uint32_t wc_sec;
  uint32_t wc_nsec;
  uint32_t wc_sec_hi;
};
static_assert(offsetof(SharedInfo, wc_version) == 3072);

struct StartInfo {
  char magic[32];
  uint64_t nr_pages;
  uint64_t shared_info;  // machine address
  uint32_t flags;
  uint32_t padding;
  uint64_t store_frame;
  uint32_t store_event_channel;
  uint32_t padding2;
  uint64_t console_frame;
  uint32_t console_event_channel;
  uint32_t padding3;
  uint64_t pt_base;  // virtual address
  uint64_t nr_pt_frames;
  uint64_t mfn_list;   // virtual address of the P2M
  uint64_t mod_start;  // virtual address of the initrd
  uint64_t mod_len;
  char cmd_line[1024];
  uint64_t first_p2m_pfn;
  uint64_t nr_p2m_frames;
};
static_assert(offsetof(StartInfo, cmd_line) == 128);
inline constexpr char kStartInfoMagic[] = "xen-3.0-x86_64";
inline constexpr uint64_t kInvalidFrame = ~0ULL;

// Notes of a PV kernel (elfnote.h), name "Xen".
inline constexpr uint32_t kNoteEntry = 1;
inline constexpr uint32_t kNoteVirtBase = 3;

// ---- arguments ----
struct TrapInfo {
  uint8_t vector;
  uint8_t flags;  // bits 0-1: privilege level; bit 2: mask events
  uint16_t cs;
  uint32_t padding;
  uint64_t address;  // 0 ends the table
};
static_assert(sizeof(TrapInfo) == 16);
inline constexpr uint8_t kTrapMasksEvents = 4;

struct MemoryMap {
  uint32_t entries;
  uint32_t padding;
  uint64_t buffer;
};
struct E820Entry {
  uint64_t address;
  uint64_t size_bytes;
  uint32_t type;
} __attribute__((packed));
static_assert(sizeof(E820Entry) == 20);
inline constexpr uint32_t kE820Ram = 1;

struct MachphysMapping {
  uint64_t start;  // addresses
  uint64_t end;
  uint64_t max_frame;
};

enum MemoryCommand : uint64_t {
  kMemoryDecreaseReservation = 1,
  kMemoryMaximumRamPage = 2,
  kMemoryCurrentReservation = 3,
  kMemoryMaximumReservation = 4,
  kMemoryMap = 9,
  kMemoryMachphysMapping = 12,
};

enum VersionCommand : uint64_t {
  kVersion = 0,
  kVersionExtra = 1,
  kVersionPlatformParameters = 5,
  kVersionGetFeatures = 6,
  kVersionPageSize = 7,
};
inline constexpr int64_t kXenVersion = 0x40011;  // 4.17: the interface we follow
struct FeatureInfo {
  uint32_t submap;
  uint32_t bits;
};
enum Feature : uint32_t {
  kFeatureWritablePageTables = 0,
  kFeatureWritableDescriptorTables = 1,
  kFeaturePaePgdirAbove4gb = 4,
  kFeatureMmuPreserveAccessedDirty = 5,
  kFeatureGnttabMapAvailBits = 7,
};

enum VcpuCommand : uint64_t {
  kVcpuInitialise = 0,
  kVcpuUp = 1,
  kVcpuDown = 2,
  kVcpuIsUp = 3,
  kVcpuGetRunstate = 4,
  kVcpuRegisterRunstate = 5,
  kVcpuSetPeriodicTimer = 6,
  kVcpuStopPeriodicTimer = 7,
  kVcpuSetSingleshotTimer = 8,
  kVcpuStopSingleshotTimer = 9,
  kVcpuRegisterInfo = 10,
  kVcpuSendNmi = 11,
  kVcpuRegisterTimeArea = 13,
};

struct GuestRegisters {  // cpu_user_regs
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  uint32_t error_code;
  uint32_t entry_vector;
  uint64_t rip;
  uint64_t cs;  // 16 bits, and saved_upcall_mask
  uint64_t rflags;
  uint64_t rsp;
  uint64_t ss, es, ds, fs, gs;  // 16 bits each
};
static_assert(sizeof(GuestRegisters) == 200);

inline constexpr uint32_t kTrapTableEntries = 256;

// What a vCPU starts with (vcpu_guest_context).
struct VcpuContext {
  uint8_t fpu[512];
  uint64_t flags;
  GuestRegisters registers;
  TrapInfo traps[kTrapTableEntries];
  uint64_t ldt_base, ldt_entries;
  uint64_t gdt_frames[16], gdt_entries;
  uint64_t kernel_ss, kernel_sp;
  uint64_t control[8];  // [1]: the user's root, [3]: the kernel's
  uint64_t debug[8];
  uint64_t event_callback;
  uint64_t failsafe_callback;
  uint64_t syscall_callback;
  uint64_t vm_assist;
  uint64_t fs_base;
  uint64_t gs_base_kernel;
  uint64_t gs_base_user;
};
static_assert(sizeof(VcpuContext) == 5168);

enum RunstateKind : uint32_t { kRunning = 0, kRunnable = 1, kBlocked = 2, kOffline = 3 };
struct RunstateInfo {  // vcpu_runstate_info
  uint32_t state;
  uint32_t padding;
  uint64_t entry_time_ns;  // of the state; with kRunstateUpdate while the rest is in flux
  uint64_t time_ns[4];     // spent in each
};
static_assert(sizeof(RunstateInfo) == 48);
inline constexpr uint64_t kRunstateUpdate = uint64_t{1} << 63;

struct SingleshotTimer {
  uint64_t deadline_ns;
  uint32_t flags;
  uint32_t padding;
};
inline constexpr uint32_t kSingleshotFuture = 1;  // refuse a deadline that has passed
struct VcpuInfoPlace {
  uint64_t frame;
  uint32_t offset;
  uint32_t padding;
};

enum SchedCommand : uint64_t {
  kSchedYield = 0,
  kSchedBlock = 1,
  kSchedShutdown = 2,
  kSchedPoll = 3,
};
struct SchedPoll {
  uint64_t ports;  // address of uint32_t[count]
  uint32_t count;
  uint32_t padding;
  uint64_t timeout_ns;  // system time, 0: none
};
static_assert(sizeof(SchedPoll) == 24);
inline constexpr uint32_t kMostPolledPorts = 128;
enum ShutdownReason : uint32_t {
  kShutdownPowerOff = 0,
  kShutdownReboot = 1,
  kShutdownCrash = 3,
};

enum CallbackCommand : uint64_t { kCallbackRegister = 0 };
enum CallbackType : uint16_t {
  kCallbackEvent = 0,
  kCallbackFailsafe = 1,
  kCallbackSyscall = 2,
  kCallbackNmi = 4,
  kCallbackSysenter = 5,
  kCallbackSyscall32 = 7,
};
struct CallbackRegister {
  uint16_t type;
  uint16_t flags;
  uint32_t padding;
  uint64_t address;
};

enum EventChannelCommand : uint64_t {
  kEventBindVirq = 1,
  kEventClose = 3,
  kEventSend = 4,
  kEventStatus = 5,
  kEventBindIpi = 7,
  kEventBindVcpu = 8,
  kEventUnmask = 9,
};
struct BindVirq {
  uint32_t virq;
  uint32_t vcpu;
  uint32_t port;  // out
};
struct BindIpi {
  uint32_t vcpu;
  uint32_t port;  // out
};
struct BindVcpu {
  uint32_t port;
  uint32_t vcpu;
};
struct EventStatus {
  uint16_t domain;
  uint16_t padding;
  uint32_t port;
  uint32_t status;  // out, as are the following
  uint32_t vcpu;
  uint32_t virq;
  uint32_t padding2;
};
static_assert(sizeof(EventStatus) == 24);
inline constexpr uint16_t kDomainSelf = 0x7ff0;
inline constexpr uint32_t kVirqTimer = 0;
inline constexpr uint32_t kVirqs = 24;

enum ConsoleCommand : uint64_t { kConsoleWrite = 0 };

enum PhysdevCommand : uint64_t { kPhysdevSetIopl = 6, kPhysdevSetIobitmap = 7 };
struct SetIopl {
  uint32_t iopl;
};

enum AssistCommand : uint64_t { kAssistEnable = 0 };

}  // namespace hmvm::ring3
