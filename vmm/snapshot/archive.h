// A whole snapshot as one file that can be read from anywhere: zstd's seekable format, so that `zstd -d`
// knows it, too. Frames, each compressed by itself: a header (archive.proto), the snapshot's small files,
// then the pages of its memory that are not zero, kFrameChunks chunks of the manifest a frame; behind them
// the table of their sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "vmm/memory/pages.h"
#include "vmm/snapshot/memory_map.h"

namespace hmvm {

// What one fault of a lazily loaded machine unpacks: up to 128 KiB.
inline constexpr size_t kFrameChunks = 2;
inline constexpr size_t kMaxArchiveFiles = 16;
inline constexpr size_t kMaxArchiveFileBytes = 16 << 20;

struct ArchiveFile {
  std::string name;
  std::string content;
};

// Writes all to `out`, an empty file whose errors carry `name`. `map` has one file, the content of `areas`.
Result<> WriteArchive(int out, const std::string& name, std::span<const ArchiveFile> files,
                      const MemoryMap& map, std::span<const MemoryArea> areas);

// Pages of an archive's memory, verified.
struct ArchivePages {
  std::vector<PageRun> runs;
  std::vector<std::byte> bytes;  // theirs, one run behind the other
};

// An archive open for reading. ReadFrame() is thread-safe, each call with its own pages.
class Archive {
 public:
  // Reads tables and small files. The descriptor outlives this. The error says what is wrong with `name`.
  static Result<Archive> Open(int file, std::string name);

  std::span<const ArchiveFile> files() const { return files_; }
  const MemoryMap& memory() const { return memory_; }

  size_t frames() const { return memory_frames_.size() - 1; }
  // The frame that has `page`, which is in the map's runs.
  size_t FrameOf(uint64_t page) const;
  // EILSEQ: it is not what was written.
  Result<> ReadFrame(size_t index, ArchivePages& pages) const;

 private:
  struct Frame {
    uint64_t offset = 0;
    uint32_t compressed_bytes = 0;
    uint32_t bytes = 0;
  };

  Archive(int file, std::string name, MemoryMap memory)
      : file_(file), name_(std::move(name)), memory_(std::move(memory)) {}
  static Result<std::vector<Frame>> ReadTable(int file, const std::string& name);
  static Result<std::string> Unpack(int file, const std::string& name, const Frame& frame);
  Result<> FindMemoryFrames();

  int file_;
  std::string name_;
  MemoryMap memory_;
  std::vector<ArchiveFile> files_;
  std::vector<Frame> table_;
  size_t first_memory_frame_ = 0;      // in table_
  std::vector<PageRun> parts_;         // the map's runs, cut at chunks
  std::vector<size_t> memory_frames_;  // where each frame's parts begin in parts_, and the end
};

}  // namespace hmvm
