#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hmvm {

// hmvm-snapshot, which knows what is in a snapshot's files, run to its end; it ends with this process.
class SnapshotTool {
 public:
  explicit SnapshotTool(std::string program) : program_(std::move(program)) {}

  // `archive` "-": standard output.
  Result<> Export(const std::string& folder, const std::string& archive) const;
  Result<> Import(const std::string& archive, const std::string& folder) const;
  Result<> Merge(const std::string& folder, const std::string& merged) const;
  // JSON, as of the tool's `inspect`.
  Result<std::string> Inspect(const std::string& archive) const;

 private:
  Result<> Run(const std::vector<std::string>& arguments, int out) const;

  std::string program_;
};

}  // namespace hmvm
