// virtio-blk (virtio 1.2 §5.2): one request queue, one file or block device behind it.
#pragma once

#include <linux/virtio_blk.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmm/virtio/block_io.h"
#include "vmm/virtio/device.h"
#include "vmm/virtio/rate_limiter.h"

namespace hmvm {

class Blk final : public VirtioDevice {
 public:
  static constexpr uint16_t kQueueSize = 256;

  struct Options {
    std::string name;  // "blk0"
    UniqueFd file;  // a file or block device; its size, in whole sectors, is the disk's. None: an empty drive
    bool read_only = false;
    std::string serial;  // what GET_ID answers, at most VIRTIO_BLK_ID_BYTES
    IoLimits limits = {};
  };
  // With io_uring, or, where the host has none, with system calls on the device thread; the log says so. From
  // the loop's thread or before the loop runs; destroy the device when the loop no longer runs. EINVAL for a
  // file without a single sector.
  static Result<std::unique_ptr<VirtioDevice>> Create(Options options, EventLoop& loop);
  // With `io`, which works on options.file and takes kQueueSize operations; an empty drive gives it none.
  static Result<std::unique_ptr<VirtioDevice>> CreateWith(std::unique_ptr<BlockIo> io, Options options,
                                                          EventLoop& loop);

  std::string_view Name() const override { return options_.name; }
  uint32_t DeviceId() const override { return VIRTIO_ID_BLOCK; }
  uint64_t OfferedFeatures() const override;
  std::span<const uint16_t> QueueSizes() const override;
  void ReadConfig(uint64_t offset, std::span<std::byte> bytes) const override;
  void WriteConfig(uint64_t, std::span<const std::byte>) override {}  // nothing is writable, §5.2.4
  Result<> Activate(Activation activation) override;
  void Reset() override;
  bool OnQueueNotify(uint16_t queue) override;
  Result<> Drain() override;
  std::vector<QueueState> QueueStates() const override { return StatesOf(active_); }
  void Save(snapshot::VirtioState* state) const override;
  // The file may be of another size than the saved device's: the driver hears of it.
  Result<> Restore(const snapshot::VirtioState& state) override;
  CounterList Counters() const override;

 private:
  struct Request {
    DescriptorChain chain;
    BlockOperation operation;  // what is under way, or next to do
    uint64_t left_bytes = 0;   // of a read or write
    std::span<iovec> left;     // ... and where they come from or go to; the operation has a part of it
    iovec front = {};          // the part, where not even the first buffer is one
    std::byte* status = nullptr;
    uint32_t type = 0;   // VIRTIO_BLK_T_*
    bool unmap = false;  // WRITE_ZEROES may give the space back
  };
  enum class Status : uint8_t {
    kOk = VIRTIO_BLK_S_OK,
    kIoError = VIRTIO_BLK_S_IOERR,
    kUnsupported = VIRTIO_BLK_S_UNSUPP
  };

  // Requests that a limit holds back, in the order in which they came: as many as there are tags, at most.
  class HeldRequests {
   public:
    bool empty() const { return count_ == 0; }
    uint16_t front() const { return tags_[first_]; }
    void Push(uint16_t tag) { tags_[(first_ + count_++) % kQueueSize] = tag; }
    void Pop() {
      first_ = (first_ + 1) % kQueueSize;
      --count_;
    }
    void Clear() { count_ = 0; }

   private:
    std::array<uint16_t, kQueueSize> tags_ = {};
    uint32_t first_ = 0;
    uint32_t count_ = 0;
  };
  // Of a disk with limits. A direction does not wait for the other: virtio-blk knows no order of requests.
  struct Throttle {
    RateLimiter limiter;
    HeldRequests reads;
    HeldRequests writes;
    UniqueFd timer;  // CLOCK_MONOTONIC: when the first of those held may go
    Watch watch;
    uint64_t held = 0;  // requests, since the start
  };

  Blk(std::unique_ptr<BlockIo> io, Options options, uint64_t sectors);
  Result<> MakeThrottle(EventLoop& loop);

  void OnCompletions(EventLoop& loop);
  bool Service();
  Result<> Begin(uint16_t tag);
  // The status of a request that is done at once; none: its operation is prepared.
  std::optional<Status> Start(Request& request, const virtio_blk_outhdr& header, std::span<iovec> readable,
                              std::span<iovec> writable);
  std::optional<Status> StartTransfer(Request& request, uint64_t sector, std::span<iovec> buffers);
  static void SetPart(Request& request, std::span<iovec> left);
  std::optional<Status> StartRange(Request& request, std::span<const iovec> readable);
  Status AnswerId(std::span<const iovec> writable) const;
  bool InRange(uint64_t sector, uint64_t sectors) const;
  // Prepares a request's operation, or holds the request back for its turn.
  void Admit(uint16_t tag);
  void Prepare(uint16_t tag);
  // Prepares what may go by now, and sets the timer for the next.
  void ReleaseHeld();
  uint64_t ReleaseHeld(HeldRequests& held, RateLimiter::Direction direction, uint64_t now_ns);
  bool CompleteDone();
  void Complete(const BlockCompletion& completion);
  // Prepares what is still to be done after `result`; false: nothing is.
  bool Continue(Request& request, int64_t result);
  Status StatusOf(const Request& request, int64_t result) const;
  void Finish(uint16_t tag, Status status);

  Options options_;
  uint64_t sectors_;
  std::unique_ptr<BlockIo> io_;  // uses options_.file
  Watch completion_watch_;       // on io_'s descriptor
  std::optional<Activation> active_;
  std::vector<Request> requests_;  // by tag
  std::vector<uint16_t> free_tags_;
  uint32_t in_flight_ = 0;
  std::unique_ptr<Throttle> throttle_;  // none: no limits

  uint64_t reads_ = 0;
  uint64_t writes_ = 0;
  uint64_t flushes_ = 0;
  uint64_t others_ = 0;
  uint64_t errors_ = 0;
  uint64_t read_bytes_ = 0;
  uint64_t written_bytes_ = 0;
};

}  // namespace hmvm
