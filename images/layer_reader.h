#pragma once

#include <archive.h>

#include <cstddef>
#include <memory>
#include <string>
#include <thread>

#include "base/result.h"
#include "images/chunk_queue.h"
#include "images/layer.h"
#include "images/sha256.h"

namespace hmvm {

struct FreeArchive {
  void operator()(archive* a) const { ::archive_read_free(a); }
};
using ArchiveReader = std::unique_ptr<archive, FreeArchive>;

// "truncated gzip input", in one line: what libarchive says of its last failure.
Error ArchiveError(archive* a);

// Reads a file, uncompresses it and computes the digests of both sides, on a thread of its own so that this
// overlaps with the writing of the files. Not movable: the thread knows its address.
class LayerReader {
 public:
  // Reads `fd` from its start; the caller keeps it open as long as this lives.
  LayerReader(int fd, Compression compression);
  LayerReader(const LayerReader&) = delete;
  LayerReader& operator=(const LayerReader&) = delete;
  ~LayerReader();

  // The next uncompressed bytes; empty at the end, whether good or bad.
  ChunkQueue::Chunk Next() { return queue_.Pop(); }

  // After the end: the digests, or why it came early.
  Result<LayerDigests> Finish();

 private:
  Result<LayerDigests> Run(Compression compression);
  Result<> CheckMagic(Compression compression) const;
  Result<> Uncompress(archive* reader, Sha256& content);
  static la_ssize_t OnRead(archive* reader, void* self, const void** block);

  const int fd_;
  ChunkQueue queue_;
  Sha256 blob_;
  std::vector<std::byte> input_;
  Result<LayerDigests> result_;
  std::thread thread_;  // last: started when all else is made
};

}  // namespace hmvm
