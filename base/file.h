// Files and descriptors: the few calls everybody needs, with errors that name the file.
#pragma once

#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

// open(2) with O_CLOEXEC added.
Result<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode = 0);

// What a service binary's flag names: "fd:N" is descriptor N, inherited from the starter (ownership passes
// here, close-on-exec is set); anything else is a path, opened with `flags`.
Result<UniqueFd> OpenArgument(const std::string& argument, int flags);

// A second descriptor for the same open file description.
Result<UniqueFd> Duplicate(int fd);

Result<uint64_t> FileSize(int fd, const std::string& name);

// The whole file; EFBIG when it is larger than `limit_bytes`.
Result<std::string> ReadFile(const std::string& path, size_t limit_bytes = 64 << 20);

// Reads until the buffer is full or the file ends; returns the bytes read. Retries EINTR.
Result<size_t> ReadFull(int fd, std::span<std::byte> buffer);
// Writes all bytes to a blocking descriptor. Retries EINTR.
Result<> WriteAll(int fd, std::span<const std::byte> bytes);
Result<> WriteAll(int fd, std::string_view text);

// What a written file is to outlive. fsync(2) takes milliseconds, and more while others write.
enum class Outlives { kThisProcess, kCrashOfHost };

// Replaces `path` by a temporary file in the same directory and rename: readers see the old content or the
// new, never a part. After a crash of the host, too, unless the file is of no use by then: it may be empty.
// The temporary file is gone on every error.
Result<> WriteFileAtomic(const std::string& path, std::string_view content, mode_t mode = 0644,
                         Outlives outlives = Outlives::kCrashOfHost);

Result<> SetNonBlocking(int fd, bool non_blocking);

// A pair of connected close-on-exec AF_UNIX sockets of `type` (SOCK_STREAM, SOCK_SEQPACKET).
struct SocketPair {
  UniqueFd first;
  UniqueFd second;
};
Result<SocketPair> MakeSocketPair(int type);

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
Result<Pipe> MakePipe();

}  // namespace hmvm
