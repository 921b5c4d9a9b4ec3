#include "vmm/snapshot/archive.h"

#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/file.h"
#include "vmm/snapshot/archive.pb.h"

namespace hmvm {
namespace {

constexpr uint32_t kFormat = 1;
// zstd's contrib/seekable_format: a skippable frame with the sizes of all others.
constexpr uint32_t kSkippableMagic = 0x184D2A5E;
constexpr uint32_t kSeekableMagic = 0x8F92EAB1;
constexpr size_t kTableHeaderBytes = 8;   // magic, bytes that follow
constexpr size_t kTableEntryBytes = 8;    // compressed and uncompressed bytes
constexpr size_t kTableFooterBytes = 9;   // number of frames, descriptor, magic
constexpr uint32_t kMaxFrames = 1 << 24;  // of 2 TiB of memory
constexpr size_t kMaxHeaderBytes = 64 << 20;
constexpr int kLevel = 3;

struct ContextDeleter {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

// Little-endian, as the CPU is.
void Append(std::string& to, uint32_t value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
uint32_t Load(const char* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

class FrameWriter {
 public:
  FrameWriter(int out, const std::string& name) : out_(out), name_(name), context_(ZSTD_createCCtx()) {
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kLevel);
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
  }

  Result<> Add(std::span<const std::byte> bytes) {
    compressed_.resize(ZSTD_compressBound(bytes.size()));
    const size_t size =
        ZSTD_compress2(context_.get(), compressed_.data(), compressed_.size(), bytes.data(), bytes.size());
    if (ZSTD_isError(size) != 0) return Error{0, "compress '" + name_ + "': " + ZSTD_getErrorName(size)};
    Append(table_, static_cast<uint32_t>(size));
    Append(table_, static_cast<uint32_t>(bytes.size()));
    ++frames_;
    return Put(std::string_view(compressed_.data(), size));
  }
  Result<> Add(std::string_view bytes) { return Add(std::as_bytes(std::span(bytes))); }

  Result<> End() {
    std::string table;
    Append(table, kSkippableMagic);
    Append(table, static_cast<uint32_t>(table_.size() + kTableFooterBytes));
    table += table_;
    Append(table, frames_);
    table += '\0';  // no checksums in the table: the manifest has them
    Append(table, kSeekableMagic);
    return Put(table);
  }

 private:
  Result<> Put(std::string_view bytes) {
    const auto written = WriteAll(out_, bytes);
    if (!written.has_value()) return Error{written.error().code, "write '" + name_ + "'"};
    return {};
  }

  int out_;
  const std::string& name_;
  std::unique_ptr<ZSTD_CCtx, ContextDeleter> context_;
  std::string compressed_;
  std::string table_;
  uint32_t frames_ = 0;
};

Result<std::string> ReadRange(int file, const std::string& name, uint64_t offset, size_t bytes) {
  std::string content(bytes, '\0');
  for (size_t done = 0; done < bytes;) {
    const ssize_t got = ::pread(file, content.data() + done, bytes - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{errno, "read '" + name + "'"};
    if (got == 0) return Error{EINVAL, "'" + name + "' ends too early"};
    done += static_cast<size_t>(got);
  }
  return content;
}

Error NoArchive(const std::string& name, const std::string& why) {
  return Error{EINVAL, "'" + name + "' is no exported snapshot, or damaged: " + why};
}

}  // namespace

Result<> WriteArchive(int out, const std::string& name, std::span<const ArchiveFile> files,
                      const MemoryMap& map, std::span<const MemoryArea> areas) {
  HMVM_TRY(map.CheckAreas(areas));
  if (map.files().size() != 1 || files.size() > kMaxArchiveFiles) {
    return Error{EINVAL, "an archive holds one full snapshot"};
  }
  snapshot::ArchiveHeader header;
  header.set_format(kFormat);
  *header.mutable_memory() = map.ToManifest();
  for (const ArchiveFile& file : files) {
    if (file.content.size() > kMaxArchiveFileBytes)
      return Error{EFBIG, "'" + file.name + "' for '" + name + "'"};
    snapshot::ArchiveFileHeader& added = *header.add_files();
    added.set_name(file.name);
    added.set_bytes(file.content.size());
  }
  FrameWriter writer(out, name);
  HMVM_TRY(writer.Add(header.SerializeAsString()));
  for (const ArchiveFile& file : files) HMVM_TRY(writer.Add(file.content));

  std::vector<std::byte> frame;
  size_t chunks = 0;
  const std::span<const PageRun> runs = map.files()[0].runs.runs();
  HMVM_TRY(VisitChunks(runs, [&](std::span<const PageRun> parts) -> Result<> {
    for (const PageRun& part : parts) {
      HMVM_TRY(VisitPages(areas, part, [&frame](std::span<const std::byte> host, uint64_t) -> Result<> {
        frame.insert(frame.end(), host.begin(), host.end());
        return {};
      }));
    }
    if (++chunks % kFrameChunks != 0) return {};
    HMVM_TRY(writer.Add(frame));
    frame.clear();
    return {};
  }));
  if (!frame.empty()) HMVM_TRY(writer.Add(frame));
  return writer.End();
}

Result<std::vector<Archive::Frame>> Archive::ReadTable(int file, const std::string& name) {
  HMVM_TRY_ASSIGN(const uint64_t size, FileSize(file, name));
  if (size < kTableHeaderBytes + kTableFooterBytes) return NoArchive(name, "too short");
  HMVM_TRY_ASSIGN(const std::string footer,
                  ReadRange(file, name, size - kTableFooterBytes, kTableFooterBytes));
  const uint32_t count = Load(footer.data());
  if (Load(footer.data() + 5) != kSeekableMagic || footer[4] != 0)
    return NoArchive(name, "no table at its end");
  const uint64_t table_bytes = uint64_t{count} * kTableEntryBytes;
  const uint64_t all_bytes = kTableHeaderBytes + table_bytes + kTableFooterBytes;
  if (count > kMaxFrames || all_bytes > size)
    return NoArchive(name, "a table of " + std::to_string(count) + " frames");
  HMVM_TRY_ASSIGN(const std::string table,
                  ReadRange(file, name, size - all_bytes, kTableHeaderBytes + table_bytes));
  if (Load(table.data()) != kSkippableMagic || Load(table.data() + 4) != table_bytes + kTableFooterBytes) {
    return NoArchive(name, "the table's head");
  }
  std::vector<Frame> frames;
  frames.reserve(count);
  uint64_t offset = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const char* const entry = table.data() + kTableHeaderBytes + i * kTableEntryBytes;
    frames.push_back({offset, Load(entry), Load(entry + 4)});
    offset += frames.back().compressed_bytes;
  }
  if (offset != size - all_bytes) return NoArchive(name, "frames and table do not agree");
  return frames;
}

Result<std::string> Archive::Unpack(int file, const std::string& name, const Frame& frame) {
  if (frame.bytes > kMaxHeaderBytes || frame.compressed_bytes > ZSTD_compressBound(frame.bytes)) {
    return NoArchive(name, "a frame's size");
  }
  HMVM_TRY_ASSIGN(const std::string compressed, ReadRange(file, name, frame.offset, frame.compressed_bytes));
  std::string content(frame.bytes, '\0');
  const size_t got = ZSTD_decompress(content.data(), content.size(), compressed.data(), compressed.size());
  if (ZSTD_isError(got) == 0 && got == content.size()) return content;
  return Error{EILSEQ, "'" + name + "' is corrupt between bytes " + std::to_string(frame.offset) + " and " +
                           std::to_string(frame.offset + frame.compressed_bytes)};
}

Result<Archive> Archive::Open(int file, std::string name) {
  HMVM_TRY_ASSIGN(std::vector<Frame> table, ReadTable(file, name));
  if (table.empty()) return NoArchive(name, "no frames");
  HMVM_TRY_ASSIGN(const std::string first, Unpack(file, name, table[0]));
  snapshot::ArchiveHeader header;
  if (!header.ParseFromString(first)) return NoArchive(name, "its header");
  if (header.format() != kFormat) {
    return Error{EINVAL, "'" + name + "' is an exported snapshot of format " +
                             std::to_string(header.format()) + ", and this hmvm reads format " +
                             std::to_string(kFormat)};
  }
  auto map = MemoryMap::FromManifest(header.memory());
  if (!map.has_value()) return NoArchive(name, map.error().what);
  const auto files = static_cast<size_t>(header.files_size());
  if (map->files().size() != 1 || files > kMaxArchiveFiles || table.size() < 1 + files) {
    return NoArchive(name, "its header");
  }
  Archive archive(file, std::move(name), std::move(*map));
  archive.table_ = std::move(table);
  archive.first_memory_frame_ = 1 + files;
  for (size_t i = 0; i < files; ++i) {
    const snapshot::ArchiveFileHeader& head = header.files(static_cast<int>(i));
    const Frame& frame = archive.table_[1 + i];
    if (head.bytes() != frame.bytes || frame.bytes > kMaxArchiveFileBytes)
      return NoArchive(archive.name_, "its files");
    HMVM_TRY_ASSIGN(std::string content, Unpack(file, archive.name_, frame));
    archive.files_.push_back({head.name(), std::move(content)});
  }
  HMVM_TRY(archive.FindMemoryFrames());
  return archive;
}

Result<> Archive::FindMemoryFrames() {
  // No more work for a manifest than its own size is worth: it has a checksum a chunk.
  size_t chunks = 0;
  HMVM_TRY(VisitChunks(memory_.files()[0].runs.runs(), [&](std::span<const PageRun> parts) -> Result<> {
    if (chunks++ % kFrameChunks == 0) memory_frames_.push_back(parts_.size());
    parts_.insert(parts_.end(), parts.begin(), parts.end());
    return {};
  }));
  memory_frames_.push_back(parts_.size());
  if (table_.size() - first_memory_frame_ != frames())
    return NoArchive(name_, "its frames are not the manifest's");
  for (size_t i = 0; i < frames(); ++i) {
    uint64_t pages = 0;
    for (size_t part = memory_frames_[i]; part < memory_frames_[i + 1]; ++part) pages += parts_[part].count;
    if (table_[first_memory_frame_ + i].bytes != pages * kPageBytes)
      return NoArchive(name_, "a frame's size");
  }
  return {};
}

size_t Archive::FrameOf(uint64_t page) const {
  const auto part = std::ranges::upper_bound(parts_, page, {}, &PageRun::first) - 1;
  const auto next = std::ranges::upper_bound(memory_frames_, static_cast<size_t>(part - parts_.begin()));
  return static_cast<size_t>(next - memory_frames_.begin()) - 1;
}

Result<> Archive::ReadFrame(size_t index, ArchivePages& pages) const {
  HMVM_TRY_ASSIGN(const std::string content, Unpack(file_, name_, table_[first_memory_frame_ + index]));
  const std::span<const std::byte> bytes = std::as_bytes(std::span(content));
  pages.bytes.assign(bytes.begin(), bytes.end());
  pages.runs.assign(parts_.begin() + static_cast<ptrdiff_t>(memory_frames_[index]),
                    parts_.begin() + static_cast<ptrdiff_t>(memory_frames_[index + 1]));
  size_t chunk = index * kFrameChunks;
  uint64_t done = 0;
  std::vector<uint64_t> sums;
  return VisitChunks(pages.runs, [&](std::span<const PageRun> parts) -> Result<> {
    sums.clear();
    for (const PageRun& part : parts) {
      for (uint64_t i = 0; i < part.count; ++i, ++done) {
        sums.push_back(PageChecksum(std::span(pages.bytes).subspan(done * kPageBytes).first<kPageBytes>()));
      }
    }
    if (ChunkChecksum(sums) == memory_.files()[0].checksums[chunk++]) return {};
    return Error{EILSEQ, "'" + name_ + "' is corrupt at page " + std::to_string(parts.front().first)};
  });
}

}  // namespace hmvm
