#include <fcntl.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <iterator>

#include "base/file.h"
#include "security/fd_class.h"
#include "vmm/virtio/block_io.h"

namespace hmvm {
namespace {

// The one file that the ring knows, by its number there.
constexpr int kTheFile = 0;

class UringBlockIo final : public BlockIo {
 public:
  explicit UringBlockIo(int fd) : fd_(fd) {}
  ~UringBlockIo() override {
    if (ring_.ring_fd >= 0) ::io_uring_queue_exit(&ring_);
  }

  Result<> Init(uint16_t depth) {
    const int error = ::io_uring_queue_init(depth, &ring_, IORING_SETUP_R_DISABLED);
    if (error < 0) {
      ring_.ring_fd = -1;
      return Error{-error, "create io_uring"};
    }
    HMVM_TRY_ASSIGN(UniqueFd copy, Duplicate(ring_.ring_fd));
    HMVM_TRY_ASSIGN(UniqueFd placed, Place(fd_class::kRings, std::move(copy)));
    ::close(ring_.ring_fd);
    ring_.ring_fd = ring_.enter_ring_fd = placed.release();
    return Restrict();
  }

  // The ring itself: epoll reports it readable while completions wait in it.
  int completion_fd() const override { return ring_.ring_fd; }

  void Prepare(const BlockOperation& operation) override {
    // There are as many entries as operations that may be under way: one is always free.
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    const auto count = static_cast<unsigned>(operation.buffers.size());
    const auto offset = operation.offset_bytes;
    const auto length = operation.length_bytes;
    switch (operation.kind) {
      case BlockOperation::Kind::kRead:
        ::io_uring_prep_readv(sqe, kTheFile, operation.buffers.data(), count, offset);
        break;
      case BlockOperation::Kind::kWrite:
        ::io_uring_prep_writev2(sqe, kTheFile, operation.buffers.data(), count, offset,
                                operation.durable ? RWF_DSYNC : 0);
        break;
      case BlockOperation::Kind::kSync:
        ::io_uring_prep_fsync(sqe, kTheFile, IORING_FSYNC_DATASYNC);
        break;
      case BlockOperation::Kind::kPunchHole:
        PrepareFallocate(sqe, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
        break;
      case BlockOperation::Kind::kZeroRange:
        PrepareFallocate(sqe, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
        break;
      case BlockOperation::Kind::kAllocate:
        PrepareFallocate(sqe, FALLOC_FL_KEEP_SIZE, offset, length);
        break;
    }
    ::io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    sqe->user_data = operation.tag;
    ++under_way_;
  }

  Result<> Submit() override {
    // What could not be submitted once stays in the ring with addresses that may be stale: never try again.
    while (!failed_ && ::io_uring_sq_ready(&ring_) > 0) {
      const int submitted = ::io_uring_submit(&ring_);
      failed_ = submitted < 0 && submitted != -EINTR;
    }
    if (failed_) return Error{0, "io_uring takes no more operations"};
    return {};
  }

  std::optional<BlockCompletion> Take(bool wait) override {
    if (wait && under_way_ == ::io_uring_sq_ready(&ring_)) return std::nullopt;
    io_uring_cqe* cqe = nullptr;
    int error;
    do {
      error = wait ? ::io_uring_wait_cqe(&ring_, &cqe) : ::io_uring_peek_cqe(&ring_, &cqe);
    } while (error == -EINTR);
    if (error < 0) return std::nullopt;
    const BlockCompletion completion = {.tag = static_cast<uint16_t>(cqe->user_data), .result = cqe->res};
    ::io_uring_cqe_seen(&ring_, cqe);
    --under_way_;
    return completion;
  }

 private:
  // What a ring does is no system call, so no seccomp filter sees it: without this it would open files and
  // sockets for a VMM that has fallen, and write to whatever is open. Linux 5.10.
  Result<> Restrict() {
    if (Register(IORING_REGISTER_FILES, &fd_, 1) < 0) return Error{errno, "give io_uring the disk's file"};
    io_uring_restriction file_alone = {};
    file_alone.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
    file_alone.sqe_flags = IOSQE_FIXED_FILE;
    io_uring_restriction allowed[] = {Allow(IORING_OP_READV), Allow(IORING_OP_WRITEV), Allow(IORING_OP_FSYNC),
                                      Allow(IORING_OP_FALLOCATE), file_alone};
    if (Register(IORING_REGISTER_RESTRICTIONS, allowed, std::size(allowed)) < 0 ||
        Register(IORING_REGISTER_ENABLE_RINGS, nullptr, 0) < 0) {
      return Error{errno, "restrict io_uring to what a disk does"};
    }
    return {};
  }

  // Debian's liburing 2.3 has functions for these two, but does not export them.
  long Register(unsigned operation, const void* argument, unsigned count) const {
    return ::syscall(SYS_io_uring_register, ring_.ring_fd, operation, argument, count);
  }

  static io_uring_restriction Allow(uint8_t operation) {
    io_uring_restriction restriction = {};
    restriction.opcode = IORING_RESTRICTION_SQE_OP;
    restriction.sqe_op = operation;
    return restriction;
  }

  void PrepareFallocate(io_uring_sqe* sqe, int mode, uint64_t offset, uint64_t length) {
    ::io_uring_prep_fallocate(sqe, kTheFile, mode, static_cast<off_t>(offset), static_cast<off_t>(length));
  }

  int fd_;
  io_uring ring_ = {};
  unsigned under_way_ = 0;  // prepared and not yet taken back
  bool failed_ = false;
};

}  // namespace

Result<std::unique_ptr<BlockIo>> CreateUringBlockIo(int fd, uint16_t depth) {
  auto io = std::make_unique<UringBlockIo>(fd);
  HMVM_TRY(io->Init(depth));
  return io;
}

}  // namespace hmvm
