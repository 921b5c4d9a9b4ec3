#include "images/layer_reader.h"

#include <unistd.h>

#include <array>
#include <span>

#include "base/escape.h"

namespace hmvm {
namespace {

constexpr size_t kBlockBytes = 256 << 10;

}  // namespace

Error ArchiveError(archive* a) {
  const char* text = ::archive_error_string(a);
  const int code = ::archive_errno(a);
  // libarchive's own codes (-1, EILSEQ for "not an archive") say nothing that its text does not.
  return Error{code == ENOSPC || code == EIO ? code : 0, text == nullptr ? "unreadable" : Escape(text)};
}

LayerReader::LayerReader(int fd, Compression compression)
    : fd_(fd), input_(kBlockBytes), thread_([this, compression] {
        result_ = Run(compression);
        queue_.Close();
      }) {}

LayerReader::~LayerReader() {
  queue_.Close();
  if (thread_.joinable()) thread_.join();
}

Result<LayerDigests> LayerReader::Finish() {
  if (thread_.joinable()) thread_.join();
  return result_;
}

la_ssize_t LayerReader::OnRead(archive* reader, void* self, const void** block) {
  auto* const layer = static_cast<LayerReader*>(self);
  *block = layer->input_.data();
  for (;;) {
    const ssize_t got = ::read(layer->fd_, layer->input_.data(), layer->input_.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) ::archive_set_error(reader, EIO, "read: %s", std::strerror(errno));
    if (got > 0) layer->blob_.Update(std::span(layer->input_).first(static_cast<size_t>(got)));
    return got;
  }
}

Result<> LayerReader::CheckMagic(Compression compression) const {
  constexpr std::array<unsigned char, 2> kGzip = {0x1f, 0x8b};
  constexpr std::array<unsigned char, 4> kZstd = {0x28, 0xb5, 0x2f, 0xfd};
  std::array<unsigned char, 4> magic = {};
  if (::pread(fd_, magic.data(), magic.size(), 0) < 0) return Error{errno, "read"};
  if (compression == Compression::kGzip && !std::equal(kGzip.begin(), kGzip.end(), magic.begin())) {
    return Error{0, "not gzip data, as its media type says"};
  }
  if (compression == Compression::kZstd && magic != kZstd)
    return Error{0, "not zstd data, as its media type says"};
  return {};
}

Result<LayerDigests> LayerReader::Run(Compression compression) {
  if (::lseek(fd_, 0, SEEK_SET) < 0) return Error{errno, "seek"};
  HMVM_TRY(CheckMagic(compression));
  const ArchiveReader reader(::archive_read_new());
  ::archive_read_support_format_raw(reader.get());
  ::archive_read_support_format_empty(reader.get());
  const bool detect = compression == Compression::kDetect;
  if (detect || compression == Compression::kGzip) ::archive_read_support_filter_gzip(reader.get());
  if (detect || compression == Compression::kZstd) ::archive_read_support_filter_zstd(reader.get());
  Sha256 content;
  if (::archive_read_open(reader.get(), this, nullptr, &LayerReader::OnRead, nullptr) != ARCHIVE_OK) {
    return ArchiveError(reader.get());
  }
  HMVM_TRY(Uncompress(reader.get(), content));
  // What follows the compressed data belongs to the blob and its digest.
  const void* rest = nullptr;
  while (const la_ssize_t got = OnRead(reader.get(), this, &rest)) {
    if (got < 0) return ArchiveError(reader.get());
  }
  return LayerDigests{.blob = blob_.Finish(), .content = content.Finish()};
}

Result<> LayerReader::Uncompress(archive* reader, Sha256& content) {
  archive_entry* entry = nullptr;
  const int status = ::archive_read_next_header(reader, &entry);
  if (status == ARCHIVE_EOF) return {};
  if (status < ARCHIVE_WARN) return ArchiveError(reader);
  for (;;) {
    ChunkQueue::Chunk chunk(kBlockBytes);
    size_t filled_bytes = 0;
    while (filled_bytes < chunk.size()) {
      const la_ssize_t got =
          ::archive_read_data(reader, chunk.data() + filled_bytes, chunk.size() - filled_bytes);
      if (got < 0) return ArchiveError(reader);
      if (got == 0) break;
      filled_bytes += static_cast<size_t>(got);
    }
    if (filled_bytes == 0) return {};
    chunk.resize(filled_bytes);
    content.Update(chunk);
    if (!queue_.Push(std::move(chunk))) return Error{ECANCELED, "unpacking"};
  }
}

}  // namespace hmvm
