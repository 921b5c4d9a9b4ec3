#include "vmm/virtio/blk.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/clock.h"
#include "base/log.h"
#include "security/fd_class.h"
#include "vmm/virtio/io_vectors.h"

namespace hmvm {
namespace {

constexpr uint64_t kSectorBytes = 512;  // the unit of virtio-blk whatever the block size, §5.2.4
constexpr uint16_t kQueueSizes[] = {Blk::kQueueSize};
// A request in as many descriptors as a queue has, less header and status.
constexpr uint32_t kMaxSegments = Blk::kQueueSize - 2;
// What one operation of the host's moves at most. A longer transfer is several, one after the other, so that
// it keeps neither the device thread nor a reset waiting: a guest may ask for 4 GiB in each of its requests.
constexpr uint64_t kMaxPartBytes = 2 << 20;
// The longest range of one discard or write-zeroes. They cost the host the same whatever the length.
constexpr uint32_t kMaxRangeSectors = 1u << 22;  // 2 GiB

constexpr uint64_t Bit(unsigned feature) { return 1ull << feature; }

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kForever = UINT64_MAX;

// How a request counts. What reads nothing but makes the host's disk work is a write of no bytes.
RateLimiter::Direction DirectionOf(const BlockOperation& operation) {
  return operation.kind == BlockOperation::Kind::kRead ? RateLimiter::Direction::kRead
                                                       : RateLimiter::Direction::kWrite;
}

}  // namespace

Result<std::unique_ptr<VirtioDevice>> Blk::Create(Options options, EventLoop& loop) {
  if (!options.file.valid()) return CreateWith(CreateSyncBlockIo(-1, kQueueSize), std::move(options), loop);
  auto io = CreateUringBlockIo(options.file.get(), kQueueSize);
  if (io.has_value()) return CreateWith(std::move(*io), std::move(options), loop);
  LOG(WARNING) << options.name << ": " << io.error().Message()
               << ": this disk is served by system calls on the device thread, which is slower";
  auto sync = CreateSyncBlockIo(options.file.get(), kQueueSize);
  return CreateWith(std::move(sync), std::move(options), loop);
}

Result<std::unique_ptr<VirtioDevice>> Blk::CreateWith(std::unique_ptr<BlockIo> io, Options options,
                                                      EventLoop& loop) {
  uint64_t sectors = 0;
  if (options.file.valid()) {
    // lseek knows the size of block devices too.
    const off_t bytes = ::lseek(options.file.get(), 0, SEEK_END);
    if (bytes < 0) return Error{errno, "size of disk " + options.name};
    sectors = static_cast<uint64_t>(bytes) / kSectorBytes;
    if (sectors == 0) return Error{EINVAL, "disk " + options.name + " is empty"};
  } else {
    options.read_only = true;  // so that a flush has nothing to flush
  }
  const int completion_fd = io->completion_fd();
  std::unique_ptr<Blk> blk(new Blk(std::move(io), std::move(options), sectors));
  if (completion_fd >= 0) {
    HMVM_TRY_ASSIGN(blk->completion_watch_,
                    loop.OnReadable(completion_fd, [blk = blk.get(), &loop]() -> Result<> {
                      blk->OnCompletions(loop);
                      return {};
                    }));
  }
  if (blk->options_.limits.any()) HMVM_TRY(blk->MakeThrottle(loop));
  return blk;
}

Blk::Blk(std::unique_ptr<BlockIo> io, Options options, uint64_t sectors)
    : options_(std::move(options)), sectors_(sectors), io_(std::move(io)) {}

Result<> Blk::MakeThrottle(EventLoop& loop) {
  throttle_.reset(
      new Throttle{.limiter = RateLimiter(options_.limits, NowMonotonicNs()),
                   .reads = {},
                   .writes = {},
                   .timer = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
                   .watch = {}});
  if (!throttle_->timer.valid()) return Error{errno, "timer of disk " + options_.name};
  HMVM_TRY_ASSIGN(throttle_->timer, Place(fd_class::kEvents, std::move(throttle_->timer)));
  HMVM_TRY_ASSIGN(throttle_->watch, loop.OnReadable(throttle_->timer.get(), [this, &loop]() -> Result<> {
    uint64_t expirations;
    (void)!::read(throttle_->timer.get(), &expirations, sizeof(expirations));  // fails when it was set anew
    OnCompletions(loop);
    return {};
  }));
  return {};
}

uint64_t Blk::OfferedFeatures() const {
  uint64_t features =
      kCommonFeatures | Bit(VIRTIO_BLK_F_SEG_MAX) | Bit(VIRTIO_BLK_F_BLK_SIZE) | Bit(VIRTIO_BLK_F_FLUSH);
  features |=
      options_.read_only ? Bit(VIRTIO_BLK_F_RO) : Bit(VIRTIO_BLK_F_DISCARD) | Bit(VIRTIO_BLK_F_WRITE_ZEROES);
  return features;
}

std::span<const uint16_t> Blk::QueueSizes() const { return kQueueSizes; }

void Blk::ReadConfig(uint64_t offset, std::span<std::byte> bytes) const {
  virtio_blk_config config = {};
  config.capacity = sectors_;
  config.seg_max = kMaxSegments;
  config.blk_size = kSectorBytes;
  config.max_discard_sectors = kMaxRangeSectors;
  config.max_discard_seg = 1;
  config.discard_sector_alignment = 4096 / kSectorBytes;
  config.max_write_zeroes_sectors = kMaxRangeSectors;
  config.max_write_zeroes_seg = 1;
  config.write_zeroes_may_unmap = 1;
  ReadConfigFrom(config, offset, bytes);
}

Result<> Blk::Activate(Activation activation) {
  if (active_) return Error{EBUSY, options_.name + " is active"};
  active_ = std::move(activation);
  requests_.resize(kQueueSize);
  free_tags_.clear();
  for (uint16_t tag = 0; tag < kQueueSize; ++tag) free_tags_.push_back(tag);
  return {};
}

void Blk::Reset() {
  // The host reads and writes the buffers of what is in flight until it has completed.
  while (in_flight_ > 0 && io_->Take(/*wait=*/true)) --in_flight_;
  in_flight_ = 0;
  if (throttle_) {
    throttle_->reads.Clear();
    throttle_->writes.Clear();
  }
  active_.reset();
}

void Blk::OnCompletions(EventLoop& loop) {
  std::lock_guard lock(mutex());
  // More than one round: let the loop's other handlers have their turn first.
  if (Service()) loop.Post([this, &loop] { OnCompletions(loop); });
}

bool Blk::OnQueueNotify(uint16_t) { return Service(); }

// Completes what is done and starts what the driver made available; true when there is more of the latter.
bool Blk::Service() {
  if (!active_ || !active_->queues[0].ready()) return false;
  Queue& queue = active_->queues[0];
  CompleteDone();
  if (throttle_) ReleaseHeld();
  Result<> served;
  Result<bool> popped = true;
  uint16_t budget = queue.size();
  // A driver that keeps to the rules never has more requests in flight than there are tags.
  for (; budget > 0 && !free_tags_.empty(); --budget) {
    const uint16_t tag = free_tags_.back();
    popped = queue.Pop(requests_[tag].chain);
    if (!popped.has_value() || !*popped) break;
    free_tags_.pop_back();
    served = Begin(tag);
    if (!served.has_value()) break;
  }
  if (!popped.has_value()) served = popped.error();
  if (auto submitted = io_->Submit(); !submitted.has_value()) served = submitted.error();
  // What the page cache holds is done by now: one interrupt for all.
  const bool more = CompleteDone();
  // The next parts of transfers.
  if (auto submitted = io_->Submit(); !submitted.has_value()) served = submitted.error();
  if (queue.ShouldSignal()) active_->interrupt->SignalUsed();
  if (!served.has_value()) active_->interrupt->SetNeedsReset(served.error());
  return served.has_value() && (more || (*popped && budget == 0));
}

// Completes what is done, but a queue of it at most, as what follows on it may be done at once too; true:
// there may be more.
bool Blk::CompleteDone() {
  for (uint16_t budget = kQueueSize; budget > 0; --budget) {
    const auto completion = io_->Take(/*wait=*/false);
    if (!completion) return false;
    Complete(*completion);
  }
  return true;
}

Result<> Blk::Begin(uint16_t tag) {
  Request& request = requests_[tag];
  // §5.2.6: a header of 16 readable bytes, data, one writable byte of status; how they are spread over
  // buffers is the driver's affair (§2.7.4.1).
  std::span<iovec> writable = request.chain.writable();
  if (writable.empty()) return Error{0, "block request without a place for its status"};
  iovec& last = writable.back();
  request.status = static_cast<std::byte*>(last.iov_base) + last.iov_len - 1;
  --last.iov_len;
  if (last.iov_len == 0) writable = writable.first(writable.size() - 1);

  virtio_blk_outhdr header;
  std::span<iovec> readable = request.chain.readable();
  std::optional<Status> status = Status::kIoError;
  request.type = UINT32_MAX;
  if (CopyFromVectors(readable, std::as_writable_bytes(std::span(&header, 1))) == sizeof(header)) {
    request.type = header.type;
    request.operation = {};
    request.operation.tag = tag;
    request.left_bytes = 0;
    status = Start(request, header, TrimFront(readable, sizeof(header)), writable);
  }
  if (status) {
    Finish(tag, *status);
  } else {
    Admit(tag);
  }
  return {};
}

void Blk::Prepare(uint16_t tag) {
  ++in_flight_;
  io_->Prepare(requests_[tag].operation);
}

void Blk::Admit(uint16_t tag) {
  if (!throttle_) return Prepare(tag);
  const RateLimiter::Direction direction = DirectionOf(requests_[tag].operation);
  HeldRequests& held = direction == RateLimiter::Direction::kRead ? throttle_->reads : throttle_->writes;
  const bool first = held.empty();
  held.Push(tag);
  if (first) ReleaseHeld();
  if (!held.empty()) ++throttle_->held;
}

void Blk::ReleaseHeld() {
  const uint64_t now_ns = NowMonotonicNs();
  const uint64_t reads_wait_ns = ReleaseHeld(throttle_->reads, RateLimiter::Direction::kRead, now_ns);
  const uint64_t writes_wait_ns = ReleaseHeld(throttle_->writes, RateLimiter::Direction::kWrite, now_ns);
  const uint64_t wait_ns = std::min(reads_wait_ns, writes_wait_ns);
  if (wait_ns == kForever) return;
  itimerspec when = {};
  when.it_value.tv_sec = static_cast<time_t>(wait_ns / kSecondNs);
  when.it_value.tv_nsec = static_cast<long>(wait_ns % kSecondNs);
  ::timerfd_settime(throttle_->timer.get(), 0, &when, nullptr);
}

// How long the first of those that stay has to wait; kForever when none stays.
uint64_t Blk::ReleaseHeld(HeldRequests& held, RateLimiter::Direction direction, uint64_t now_ns) {
  while (!held.empty()) {
    const uint16_t tag = held.front();
    const uint64_t wait_ns = throttle_->limiter.Admit(direction, requests_[tag].left_bytes, now_ns);
    if (wait_ns != 0) return wait_ns;
    held.Pop();
    Prepare(tag);
  }
  return kForever;
}

std::optional<Blk::Status> Blk::Start(Request& request, const virtio_blk_outhdr& header,
                                      std::span<iovec> readable, std::span<iovec> writable) {
  switch (header.type) {
    case VIRTIO_BLK_T_IN:
      ++reads_;
      request.operation.kind = BlockOperation::Kind::kRead;
      return StartTransfer(request, header.sector, writable);
    case VIRTIO_BLK_T_OUT:
      ++writes_;
      if (options_.read_only) return Status::kIoError;
      request.operation.kind = BlockOperation::Kind::kWrite;
      // §5.2.6.2: without flushes the driver takes every completed write for stable.
      request.operation.durable = (active_->features & Bit(VIRTIO_BLK_F_FLUSH)) == 0;
      return StartTransfer(request, header.sector, readable);
    case VIRTIO_BLK_T_FLUSH:
      ++flushes_;
      if (options_.read_only) return Status::kOk;
      request.operation.kind = BlockOperation::Kind::kSync;
      return std::nullopt;
    case VIRTIO_BLK_T_GET_ID:
      ++others_;
      return AnswerId(writable);
    case VIRTIO_BLK_T_DISCARD:
      ++others_;
      request.operation.kind = BlockOperation::Kind::kPunchHole;
      return StartRange(request, readable);
    case VIRTIO_BLK_T_WRITE_ZEROES:
      ++others_;
      request.operation.kind = BlockOperation::Kind::kZeroRange;
      return StartRange(request, readable);
    default:
      ++others_;
      return Status::kUnsupported;
  }
}

std::optional<Blk::Status> Blk::StartTransfer(Request& request, uint64_t sector, std::span<iovec> buffers) {
  const uint64_t bytes = TotalBytes(buffers);
  if (bytes == 0 || bytes % kSectorBytes != 0 || !InRange(sector, bytes / kSectorBytes))
    return Status::kIoError;
  request.operation.offset_bytes = sector * kSectorBytes;
  request.left_bytes = bytes;
  SetPart(request, buffers);
  return std::nullopt;
}

// Makes the operation the first part of what `left` still has to be moved to or from.
void Blk::SetPart(Request& request, std::span<iovec> left) {
  request.left = left;
  size_t count = 0;
  for (uint64_t bytes = 0; count < left.size(); ++count) {
    bytes += left[count].iov_len;
    if (bytes > kMaxPartBytes) break;
  }
  if (count > 0) {
    request.operation.buffers = left.first(count);
  } else {
    request.front = {.iov_base = left[0].iov_base, .iov_len = kMaxPartBytes};
    request.operation.buffers = std::span(&request.front, 1);
  }
}

std::optional<Blk::Status> Blk::StartRange(Request& request, std::span<const iovec> readable) {
  if (options_.read_only) return Status::kUnsupported;
  virtio_blk_discard_write_zeroes range;
  if (TotalBytes(readable) != sizeof(range)) return Status::kIoError;  // we offer one range a request
  CopyFromVectors(readable, std::as_writable_bytes(std::span(&range, 1)));
  request.unmap = (range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;
  // §5.2.6.2: flags we do not know, and unmap where it has no meaning, are unsupported.
  const uint32_t known = request.type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
  if ((range.flags & ~known) != 0) return Status::kUnsupported;
  if (range.num_sectors == 0 || range.num_sectors > kMaxRangeSectors ||
      !InRange(range.sector, range.num_sectors)) {
    return Status::kIoError;
  }
  if (request.unmap) request.operation.kind = BlockOperation::Kind::kPunchHole;
  request.operation.offset_bytes = range.sector * kSectorBytes;
  request.operation.length_bytes = range.num_sectors * kSectorBytes;
  return std::nullopt;
}

Blk::Status Blk::AnswerId(std::span<const iovec> writable) const {
  std::array<std::byte, VIRTIO_BLK_ID_BYTES> id = {};
  const auto serial =
      std::as_bytes(std::span(options_.serial)).first(std::min(options_.serial.size(), id.size()));
  std::ranges::copy(serial, id.begin());
  return CopyToVectors(id, writable) == id.size() ? Status::kOk : Status::kIoError;
}

bool Blk::InRange(uint64_t sector, uint64_t sectors) const {
  return sector <= sectors_ && sectors <= sectors_ - sector;  // no sum that could wrap
}

void Blk::Complete(const BlockCompletion& completion) {
  Request& request = requests_[completion.tag];
  if (Continue(request, completion.result)) {
    io_->Prepare(request.operation);
    return;
  }
  --in_flight_;
  Finish(completion.tag, StatusOf(request, completion.result));
}

bool Blk::Continue(Request& request, int64_t result) {
  BlockOperation& operation = request.operation;
  switch (operation.kind) {
    case BlockOperation::Kind::kRead:
    case BlockOperation::Kind::kWrite:
      if (result == -EINTR) return true;
      if (result <= 0) return false;
      (operation.kind == BlockOperation::Kind::kRead ? read_bytes_ : written_bytes_) +=
          static_cast<uint64_t>(result);
      request.left_bytes -= static_cast<uint64_t>(result);
      operation.offset_bytes += static_cast<uint64_t>(result);
      if (request.left_bytes > 0) SetPart(request, TrimFront(request.left, static_cast<uint64_t>(result)));
      return request.left_bytes > 0;
    case BlockOperation::Kind::kZeroRange:
      // tmpfs and others know holes only: make one, then give it its space back.
      if (result == -EOPNOTSUPP) operation.kind = BlockOperation::Kind::kPunchHole;
      return result == -EOPNOTSUPP;
    case BlockOperation::Kind::kPunchHole:
      if (result != 0 || request.type != VIRTIO_BLK_T_WRITE_ZEROES || request.unmap) return false;
      operation.kind = BlockOperation::Kind::kAllocate;
      return true;
    case BlockOperation::Kind::kSync:
    case BlockOperation::Kind::kAllocate:
      return false;
  }
  return false;
}

Blk::Status Blk::StatusOf(const Request& request, int64_t result) const {
  switch (request.operation.kind) {
    case BlockOperation::Kind::kRead:
    case BlockOperation::Kind::kWrite:
      return request.left_bytes == 0 ? Status::kOk : Status::kIoError;
    case BlockOperation::Kind::kPunchHole:
      // A discard is a hint, and a disk that can't follow it has done nothing wrong.
      if (result == -EOPNOTSUPP)
        return request.type == VIRTIO_BLK_T_DISCARD ? Status::kOk : Status::kUnsupported;
      break;
    default:
      break;
  }
  return result < 0 ? Status::kIoError : Status::kOk;
}

void Blk::Finish(uint16_t tag, Status status) {
  Request& request = requests_[tag];
  if (status != Status::kOk) ++errors_;
  *request.status = static_cast<std::byte>(status);
  // §2.7.8.2: the length counts from the front of the writable buffers and must not claim what was not
  // written.
  const uint64_t data_bytes = request.chain.writable_bytes() - 1;
  const bool filled = status == Status::kOk && request.type == VIRTIO_BLK_T_IN;
  const uint64_t written = data_bytes == 0 ? 1 : filled ? data_bytes + 1 : 0;
  active_->queues[0].PushUsed(request.chain.head(), static_cast<uint32_t>(written));
  free_tags_.push_back(tag);
}

Result<> Blk::Drain() {
  if (!active_) return {};
  if (throttle_) {
    // A snapshot does not wait for a limit: at most a queue of requests is done early.
    for (HeldRequests* held : {&throttle_->reads, &throttle_->writes}) {
      for (; !held->empty(); held->Pop()) Prepare(held->front());
    }
    HMVM_TRY(io_->Submit());
  }
  while (in_flight_ > 0) {
    const auto completion = io_->Take(/*wait=*/true);
    if (!completion) return Error{EIO, "disk " + options_.name + " has requests that do not end"};
    Complete(*completion);
    HMVM_TRY(io_->Submit());  // the next part of a transfer
  }
  if (active_->queues[0].ShouldSignal()) active_->interrupt->SignalUsed();
  return {};
}

void Blk::Save(snapshot::VirtioState* state) const { state->mutable_blk()->set_sectors(sectors_); }

Result<> Blk::Restore(const snapshot::VirtioState& state) {
  if (!state.has_blk()) return Error{EINVAL, "no state of a disk"};
  if (active_ && state.blk().sectors() != sectors_) active_->interrupt->SignalConfig();
  return {};
}

CounterList Blk::Counters() const {
  return {{"reads", reads_},
          {"writes", writes_},
          {"flushes", flushes_},
          {"other_requests", others_},
          {"errors", errors_},
          {"read_bytes", read_bytes_},
          {"written_bytes", written_bytes_},
          {"held_requests", throttle_ ? throttle_->held : 0}};
}

}  // namespace hmvm
