#include "runtime/output/line_buffer.h"

#include <unistd.h>

#include <cerrno>

namespace hmvm {

std::optional<std::string_view> LineBuffer::Next() {
  const size_t newline = bytes_.find('\n', searched_);
  if (newline == std::string::npos) {
    bytes_.erase(0, used_);
    used_ = 0;
    searched_ = bytes_.size();
    return std::nullopt;
  }
  const std::string_view line = std::string_view(bytes_).substr(used_, newline - used_);
  used_ = searched_ = newline + 1;
  return line;
}

Result<bool> LineBuffer::Read(const UniqueFd& file, const std::string& name) {
  char chunk[64 << 10];
  ssize_t got;
  do {
    got = ::read(file.get(), chunk, sizeof(chunk));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Error{errno, "read " + name};
  bytes_.append(chunk, static_cast<size_t>(got));
  return got > 0;
}

void LineBuffer::Clear() { *this = LineBuffer(); }

}  // namespace hmvm
