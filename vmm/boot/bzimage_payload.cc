#include "vmm/boot/bzimage_payload.h"

#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>

#include <cstring>
#include <memory>
#include <string>

#include "vmm/boot/bzimage.h"

namespace hmvm {
namespace {

// The build appends the unpacked size, 32 bits, little-endian, to the compressed kernel (mkpiggy.c); gzip
// ends in this number anyway.
constexpr size_t kSizeBytes = sizeof(uint32_t);
constexpr std::byte kGzipMagic[] = {std::byte{0x1f}, std::byte{0x8b}};

// Not linked but loaded: it comes with a dozen libraries, which would double the start of every machine.
class LibArchive {
 public:
  static Result<const LibArchive*> Get() {
    static const Result<LibArchive> library = Load();
    if (!library.has_value()) return library.error();
    return &*library;
  }

  decltype(&::archive_read_new) read_new;
  decltype(&::archive_read_free) read_free;
  decltype(&::archive_read_support_format_raw) support_raw;
  decltype(&::archive_read_support_filter_gzip) support_filter[6];  // all have this type
  decltype(&::archive_read_open_memory) open_memory;
  decltype(&::archive_read_next_header) next_header;
  decltype(&::archive_read_data) read_data;
  decltype(&::archive_filter_code) filter_code;
  decltype(&::archive_error_string) error_string;

 private:
  static Result<LibArchive> Load() {
    // The interface of libarchive 3, which is what the headers above declare. Never unloaded.
    void* const handle = ::dlopen("libarchive.so.13", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return Error{0, std::string("a bzImage needs libarchive: ") + ::dlerror()};
    LibArchive library = {};
    bool complete = true;
    const auto find = [&](auto& function, const char* name) {
      // SAFETY: the member has the type that archive.h declares for this name.
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
      complete = complete && function != nullptr;
    };
    find(library.read_new, "archive_read_new");
    find(library.read_free, "archive_read_free");
    find(library.support_raw, "archive_read_support_format_raw");
    // Named one by one: among "all" there are some that start programs.
    find(library.support_filter[0], "archive_read_support_filter_gzip");
    find(library.support_filter[1], "archive_read_support_filter_bzip2");
    find(library.support_filter[2], "archive_read_support_filter_lzma");
    find(library.support_filter[3], "archive_read_support_filter_xz");
    find(library.support_filter[4], "archive_read_support_filter_lz4");
    find(library.support_filter[5], "archive_read_support_filter_zstd");
    find(library.open_memory, "archive_read_open_memory");
    find(library.next_header, "archive_read_next_header");
    find(library.read_data, "archive_read_data");
    find(library.filter_code, "archive_filter_code");
    find(library.error_string, "archive_error_string");
    if (!complete) return Error{0, "a bzImage needs a complete libarchive.so.13"};
    return library;
  }
};

Error Malformed(const std::string& what) { return Error{ENOEXEC, "bzImage's compressed kernel " + what}; }

// Fills `output` from the one stream that `compressed` is.
Result<> Unpack(const LibArchive& library, std::span<const std::byte> compressed,
                std::span<std::byte> output) {
  const std::unique_ptr<archive, decltype(library.read_free)> reader(library.read_new(), library.read_free);
  if (reader == nullptr) return Error{ENOMEM, "libarchive"};
  archive* const raw = reader.get();
  const auto broken = [&] {
    const char* const reason = library.error_string(raw);
    return Malformed(std::string("can't be unpacked: ") + (reason == nullptr ? "damaged" : reason));
  };
  if (library.support_raw(raw) != ARCHIVE_OK) return broken();
  for (const auto support : library.support_filter) {
    // A warning says that a program would do the work.
    if (support(raw) != ARCHIVE_OK) return broken();
  }
  archive_entry* entry = nullptr;
  if (library.open_memory(raw, compressed.data(), compressed.size()) != ARCHIVE_OK ||
      library.next_header(raw, &entry) != ARCHIVE_OK) {
    return broken();
  }
  if (library.filter_code(raw, 0) == ARCHIVE_FILTER_NONE) return Malformed("has an unknown format");
  for (size_t filled = 0; filled < output.size();) {
    const la_ssize_t count = library.read_data(raw, output.data() + filled, output.size() - filled);
    if (count < 0) return broken();
    if (count == 0) return Malformed("is shorter than it says");
    filled += static_cast<size_t>(count);
  }
  std::byte beyond;
  const la_ssize_t count = library.read_data(raw, &beyond, 1);
  if (count < 0) return broken();
  if (count > 0) return Malformed("is longer than it says");
  return {};
}

}  // namespace

Result<> LoadUnpacker() {
  HMVM_TRY(LibArchive::Get());
  return {};
}

Result<Mapping> UnpackVmlinux(std::span<const std::byte> bzimage) {
  HMVM_TRY_ASSIGN(const BzImage image, BzImage::Parse(bzimage));
  HMVM_TRY_ASSIGN(std::span<const std::byte> compressed, image.CompressedKernel());
  if (compressed.size() <= kSizeBytes) return Malformed("is missing");
  uint32_t size_bytes;
  std::memcpy(&size_bytes, compressed.last(kSizeBytes).data(), kSizeBytes);
  if (size_bytes == 0) return Malformed("is empty");
  if (size_bytes > kMaxVmlinuxBytes) {
    return Error{EFBIG, "bzImage's kernel unpacks to " + std::to_string(size_bytes >> 20) +
                            " MiB, more than " + std::to_string(kMaxVmlinuxBytes >> 20) + " MiB"};
  }
  if (std::memcmp(compressed.data(), kGzipMagic, sizeof(kGzipMagic)) != 0) {
    compressed = compressed.first(compressed.size() - kSizeBytes);
  }
  HMVM_TRY_ASSIGN(const LibArchive* const library, LibArchive::Get());
  HMVM_TRY_ASSIGN(Mapping vmlinux, Mapping::Anonymous(size_bytes));
  HMVM_TRY(Unpack(*library, compressed, vmlinux.bytes()));
  return vmlinux;
}

}  // namespace hmvm
