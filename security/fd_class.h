// Which number a VMM's descriptor has says what it is for: each class has a range of its own. So a rule of
// security/syscall_rules can say which descriptors a system call may be about, though a filter sees numbers
// alone.
#pragma once

#include <string_view>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// A power of two of numbers, from a multiple of it on: whether one is among them, one mask tells.
struct FdClass {
  std::string_view name;
  int first;
  int count;

  constexpr bool Has(int fd) const { return fd >= first && fd < first + count; }
};

namespace fd_class {

// What comes once the machine runs has the lowest free numbers: from here on there are none for it, as the
// VMM has taken that limit by then (AllowArrivingOnly).
inline constexpr FdClass kArriving = {"standard error, vsock streams, a snapshot's files", 0, 2048};

inline constexpr FdClass kEvents = {"epoll, eventfds, timers", 2048, 256};
inline constexpr FdClass kVcpus = {"vCPUs", 2304, 256};
inline constexpr FdClass kCounters = {"KVM's counters", 2560, 512};
inline constexpr FdClass kSnapshot = {"the files that the machine is restored from", 3072, 64};
inline constexpr FdClass kDisks = {"disks", 3136, 32};
inline constexpr FdClass kRings = {"io_uring, one a disk", 3168, 32};
inline constexpr FdClass kUntouched = {"the kernel, and what is only kept open or waited for", 3200, 16};
inline constexpr FdClass kConsole = {"the console's output", 3216, 16};
inline constexpr FdClass kVm = {"the virtual machine, and another while the host is probed", 3232, 16};
inline constexpr FdClass kPagemap = {"pagemap", 3248, 16};
inline constexpr FdClass kUserfaultfd = {"userfaultfd", 3264, 16};
inline constexpr FdClass kKvm = {"/dev/kvm", 3280, 16};
inline constexpr FdClass kControl = {"the control channel", 3296, 1};
inline constexpr FdClass kFiles = {"the channel by which a snapshot's files come", 3297, 1};
inline constexpr FdClass kListener = {"vsock's listener", 3298, 1};
inline constexpr FdClass kAgent = {"the stream of the guest's agent", 3299, 1};

inline constexpr FdClass kAll[] = {kArriving, kEvents,    kVcpus,   kCounters, kSnapshot, kDisks,
                                   kRings,    kUntouched, kConsole, kVm,       kPagemap,  kUserfaultfd,
                                   kKvm,      kControl,   kFiles,   kListener, kAgent};

// Above all numbers: the limit of descriptors under which there is room for all classes.
inline constexpr int kEnd = 4096;

}  // namespace fd_class

// Moves the descriptor, close-on-exec, to the first free number of its class; none stays none. EMFILE: the
// class is full. Where the process's limit leaves no such numbers it stays where it is: that is outside the
// jail, where nothing asks.
Result<UniqueFd> Place(const FdClass& to, UniqueFd fd);
// The same as a function, for EventLoop::Create.
inline auto PlacedIn(const FdClass& to) {
  return [to](UniqueFd fd) { return Place(to, std::move(fd)); };
}

// As far as this process may: room for all classes, before anything is placed; and, when everything is, none
// but for what arrives. The second is for good.
void AllowAllClasses();
Result<> AllowArrivingOnly();

}  // namespace hmvm
