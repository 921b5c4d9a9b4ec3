#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

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
    std::string name;     // the container's id
    uint64_t cgroup = 0;  // id of its cgroup of version 2, in which the VMM will be born; 0: there is none
    bool audit = false;   // a breach is told, not punished
    std::function<void(const GuardEvent&)> on_event = {};
    // Runs a task that blocks for milliseconds, on whatever thread; empty: at once, in Create.
    std::function<void(std::function<void()>)> in_background = {};
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
  std::shared_ptr<const GuardMaps> maps_;
  bool registered_ = false;
  std::shared_ptr<const UniqueFd> ring_map_;
  std::unique_ptr<ring_buffer, FreeRing> ring_;
  Watch watch_;
  std::optional<GuardEvent> breach_;
};

}  // namespace hmvm
