#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "security/guard/event.h"
#include "security/guard/guard.h"
#include "security/guard/policy.h"

struct ring_buffer;

namespace hmvm {

// One virtual machine in the guard's care, from before its VMM's first instruction on. Belongs to the loop's
// thread.
class GuardedVm {
 public:
  struct Options {
    std::string name;    // the container's id
    int cgroup = -1;     // directory of its cgroup of version 2, in which the VMM will be born
    bool audit = false;  // a breach is told, not punished
    std::function<void(const GuardEvent&)> on_event = {};
    GuardRules rules = VmmRules();
    GuardPins pins = GuardPins();
  };

  // Loads the guard first if there is none. An error says why there can be no guard, in a clause.
  static Result<std::unique_ptr<GuardedVm>> Create(EventLoop& loop, Options options);
  // From here on the cgroup is not guarded.
  ~GuardedVm();
  GuardedVm(const GuardedVm&) = delete;
  GuardedVm& operator=(const GuardedVm&) = delete;

  // Tells what there is to tell. To be called when the VMM has ended, before its cgroup goes.
  void Drain();
  // What it was killed for, or in audit would have been: the first.
  const std::optional<GuardEvent>& breach() const { return breach_; }

 private:
  struct FreeRing {
    void operator()(ring_buffer* ring) const;
  };

  explicit GuardedVm(Options options) : options_(std::move(options)) {}
  Result<> Register();
  Result<> OpenRing(EventLoop& loop);
  void OnRecord(std::span<const std::byte> record);

  Options options_;
  GuardMaps maps_;
  uint64_t cgroup_ = 0;
  bool registered_ = false;
  UniqueFd ring_map_;
  std::unique_ptr<ring_buffer, FreeRing> ring_;
  Watch watch_;
  std::thread installer_;  // of the ring: the kernel takes milliseconds
  std::optional<GuardEvent> breach_;
};

}  // namespace hmvm
