#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "guest/agent/cgroup.h"
#include "guest/agent/launch.h"
#include "guest/agent/pump.h"
#include "guest/agent/streams.h"
#include "guest/api/agent.pb.h"

namespace hmvm::agent {

// One process of a container, from its start until it is forgotten: its streams, its terminal, its end and
// those who wait for it. Lives on the loop's thread.
class ContainerProcess {
 public:
  using Started = std::function<void(Result<uint32_t> pid)>;
  using Waiter = std::function<void(Result<v1::WaitProcessResponse>)>;

  ContainerProcess(EventLoop& loop, StreamRegistry& streams, const Cgroup& cgroup)
      : loop_(loop), streams_(streams), cgroup_(cgroup) {}
  ~ContainerProcess();

  // Forks the process. `started` is called once, later: with the pid when its program runs, or with the
  // reason why it does not; it may destroy this object in the latter case. An error returned here means that
  // nothing was started; `started` is not called then.
  Result<> Start(const v1::StartProcessRequest& request, const Surroundings& surroundings, Started started);

  // The process has been reaped with this wait status.
  void OnReaped(int wait_status);

  // Answers when the process has ended and its output is delivered; at once if that has happened.
  void Wait(Waiter waiter);

  // ESRCH: it has ended.
  Result<> Signal(int signal) const;
  Result<> Resize(const v1::WindowSize& window) const;

  // Holds the bytes of the streams, and lets them move again. The process itself is the cgroup's to hold.
  void HoldStreams();
  void ReleaseStreams();
  // After a restore, the streams held and the registry empty: forgets those who waited for the process and
  // closes the host's connections. With `expected` the same ids are claimed again, else the streams are
  // broken.
  void Disown(bool expected);

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  bool ended() const { return ended_; }

 private:
  // One standard stream: the id of the host's connection (0: none) and what moves its bytes.
  struct Stream {
    uint64_t id = 0;
    std::unique_ptr<Pump> pump;
  };

  Result<UniqueFd> OpenStdio(int number, uint64_t id, bool terminal);
  Result<> Claim(uint64_t id, Pump& pump, bool input);
  void DropStream(Stream& stream);
  Result<> OnChildMessage();
  void AdoptTerminal(UniqueFd master);
  void FinishStart(Result<uint32_t> result);
  void AnswerWaitersIfDone();

  EventLoop& loop_;
  StreamRegistry& streams_;
  const Cgroup& cgroup_;

  pid_t pid_ = 0;
  UniqueFd pidfd_;
  UniqueFd channel_;  // while the process is starting
  Watch channel_watch_;
  Started started_;
  UniqueFd terminal_;  // pty master
  std::array<Stream, 3> stdio_;

  uint64_t oom_kills_at_start_ = 0;
  bool ended_ = false;
  v1::WaitProcessResponse end_;
  std::vector<Waiter> waiters_;
};

}  // namespace hmvm::agent
