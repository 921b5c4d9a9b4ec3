// The guard of this host: eBPF programs that police VMMs from outside, loaded once, pinned, without a daemon.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "security/guard/pins.h"

namespace hmvm {

// Opened from their pins. What it takes to register a machine costs microseconds.
struct GuardMaps {
  UniqueFd vms;
  UniqueFd policies;
  UniqueFd rings;

  static Result<GuardMaps> Open(const GuardPins& pins);
};

// Attaches the guard of this build, with every layer that the kernel lets us load; only the first must.
// Layers that are active stay. Of another version the programs are replaced: the new ones are attached before
// the old ones go, and both read the same maps, so that there is no instant without police. False: all was
// there. With an error nothing is left that was not there before.
Result<bool> LoadGuard(const GuardPins& pins = GuardPins());

// Detaches and removes it: running VMMs go on without. False: there was none.
Result<bool> UnloadGuard(const GuardPins& pins = GuardPins());

struct GuardLayerStatus {
  std::string name;
  std::string meaning;
  bool active = false;  // of ProbeGuard: could be
  std::string why;      // not
};

// What is known of one guarded machine.
struct GuardVmStatus {
  uint64_t cgroup = 0;
  std::string name;   // its container's id
  std::string state;  // "setting up", "sealed"
  bool audit = false;
  uint64_t breaches = 0;
  uint64_t lost_events = 0;
  uint64_t processes = 0;
  uint64_t programs = 0;
  uint64_t uring_operations = 0;
  uint64_t exits = 0;                            // counted while "kvm-exits" is attached
  std::map<std::string, uint64_t> calls;         // by name
  std::map<std::string, uint64_t> exit_reasons;  // "io" as of KVM_EXIT_IO, or a number
};

struct GuardStatus {
  std::string version;  // empty: none is loaded
  std::vector<GuardLayerStatus> layers;
  std::vector<GuardVmStatus> machines;
};

GuardStatus StatusOfGuard(const GuardPins& pins = GuardPins());

// Only the last of these: the others take a while to find out.
std::vector<GuardVmStatus> GuardedMachines(const GuardPins& pins = GuardPins());

// ENOENT: the guard does not know of it.
Result<GuardVmStatus> StatusOfGuardedVm(uint64_t cgroup, const GuardPins& pins = GuardPins());

// Whether each layer could be loaded here, by trying; leaves nothing behind.
std::vector<GuardLayerStatus> ProbeGuard();

// How many exits the layer "kvm" or "kvm-exits" sees while `run` lets a guest run in this process's cgroup:
// some KVMs never pass a tracepoint.
Result<uint64_t> ExitsSeenBy(const std::string& layer, const std::function<void()>& run);

// Whoever holds the result has a layer loaded that is not part of the guard: "kvm-exits".
Result<std::vector<UniqueFd>> AttachOnDemand(const std::string& layer, const GuardPins& pins = GuardPins());

// Removes the rings of machines that are no more, `most` of them. Takes milliseconds for each.
void SweepGuardRings(const GuardPins& pins = GuardPins(), size_t most = SIZE_MAX);

}  // namespace hmvm
