// How virtio-blk does its I/O: io_uring where the host has it, plain system calls where it has not.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/result.h"

namespace hmvm {

struct BlockOperation {
  enum class Kind {
    kRead,
    kWrite,
    kSync,       // fdatasync
    kPunchHole,  // the range reads as zero and takes no space
    kZeroRange,  // the range reads as zero
    kAllocate    // the range has space of its own; what it reads as stays
  };
  Kind kind = Kind::kRead;
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;  // of the last three
  std::span<iovec> buffers;   // of kRead and kWrite; valid, as the vectors themselves, until the completion
  bool durable = false;       // kWrite: complete when the data has reached the disk
  uint16_t tag = 0;           // comes back with the completion
};

struct BlockCompletion {
  uint16_t tag;
  int64_t result;  // bytes read or written, 0 for the others, or -errno. May be short, as of preadv(2)
};

// One file's operations. Not thread-safe: the device's lock covers it.
class BlockIo {
 public:
  virtual ~BlockIo() = default;
  // Readable when completions may be there; -1 where all operations complete in Submit().
  virtual int completion_fd() const = 0;
  // Prepares an operation; at most `depth` may be under way.
  virtual void Prepare(const BlockOperation& operation) = 0;
  // Starts what was prepared. After an error nothing more can be expected of this object.
  virtual Result<> Submit() = 0;
  // The next completion if there is one; with `wait`, blocks for it (nothing only when none can come any
  // more).
  virtual std::optional<BlockCompletion> Take(bool wait) = 0;
};

// ENOSYS or EPERM where the host does not offer io_uring. `fd` must outlive the object.
Result<std::unique_ptr<BlockIo>> CreateUringBlockIo(int fd, uint16_t depth);
std::unique_ptr<BlockIo> CreateSyncBlockIo(int fd, uint16_t depth);

}  // namespace hmvm
