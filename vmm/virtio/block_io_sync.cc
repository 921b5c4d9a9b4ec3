#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <vector>

#include "vmm/virtio/block_io.h"

namespace hmvm {
namespace {

class SyncBlockIo final : public BlockIo {
 public:
  SyncBlockIo(int fd, uint16_t depth) : fd_(fd) { completions_.reserve(depth); }

  int completion_fd() const override { return -1; }

  void Prepare(const BlockOperation& operation) override {
    ssize_t result;
    do {
      result = Run(operation);
    } while (result < 0 && errno == EINTR);
    completions_.push_back({.tag = operation.tag, .result = result < 0 ? -errno : result});
  }

  Result<> Submit() override { return {}; }

  std::optional<BlockCompletion> Take(bool) override {
    if (completions_.empty()) return std::nullopt;
    const BlockCompletion completion = completions_.back();
    completions_.pop_back();
    return completion;
  }

 private:
  ssize_t Run(const BlockOperation& operation) const {
    const auto offset = static_cast<off_t>(operation.offset_bytes);
    const auto length = static_cast<off_t>(operation.length_bytes);
    const auto count = static_cast<int>(operation.buffers.size());
    switch (operation.kind) {
      case BlockOperation::Kind::kRead:
        return ::preadv(fd_, operation.buffers.data(), count, offset);
      case BlockOperation::Kind::kWrite:
        return ::pwritev2(fd_, operation.buffers.data(), count, offset, operation.durable ? RWF_DSYNC : 0);
      case BlockOperation::Kind::kSync:
        return ::fdatasync(fd_);
      case BlockOperation::Kind::kPunchHole:
        return ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
      case BlockOperation::Kind::kZeroRange:
        return ::fallocate(fd_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
      case BlockOperation::Kind::kAllocate:
        return ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, offset, length);
    }
    return 0;
  }

  int fd_;
  std::vector<BlockCompletion> completions_;  // in any order, as io_uring's
};

}  // namespace

std::unique_ptr<BlockIo> CreateSyncBlockIo(int fd, uint16_t depth) {
  return std::make_unique<SyncBlockIo>(fd, depth);
}

}  // namespace hmvm
