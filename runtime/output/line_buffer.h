// The lines of a file that is being written, each as soon as it is whole.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace hmvm {

class LineBuffer {
 public:
  // The next whole line of what was read, without its newline; good until the next call. None: read on.
  std::optional<std::string_view> Next();
  // Reads on in `file`; `name` is for its error. False at the end of what is there now (more may come).
  Result<bool> Read(const UniqueFd& file, const std::string& name);
  // Forgets what was read: the next is of another place or file.
  void Clear();

 private:
  std::string bytes_;
  size_t used_ = 0;      // of them: behind us
  size_t searched_ = 0;  // up to here there is no newline after those
};

}  // namespace hmvm
