// The host's audit log: what security layers have met, a line of JSON each, chained by SHA-256.
//   <folder>/audit.jsonl  each line has its number and the hash of the line before it
//   <folder>/audit.head   how many lines there are, and the last one's hash
// A line that was changed, cut out, put elsewhere or added breaks the chain; a tail that was cut off does not
// fit the head. Whoever may write to the folder can compute all of it anew: against him only a head that was
// copied elsewhere helps (`hmvm audit verify` prints it).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace hmvm {

class AuditLog {
 public:
  // Makes the folder (0700) where it is not there.
  static Result<AuditLog> Open(const std::string& folder);

  // Adds a line with these fields, whole or not at all, whatever other processes do at the same time, and
  // waits until it is on the disk. "line", "time" and "previous" are ours.
  Result<> Append(const nlohmann::ordered_json& fields) const;

  static std::string PathIn(const std::string& folder) { return folder + "/audit.jsonl"; }

 private:
  explicit AuditLog(std::string folder) : folder_(std::move(folder)) {}

  std::string folder_;
};

struct AuditVerdict {
  uint64_t lines = 0;        // good ones, from the beginning on
  std::string last;          // the last good line's hash, hex
  std::string problem = {};  // empty: all is well; else it begins with "line N: "
};

// Checks a log file and, in its folder, its head. ENOENT: there is no log. A last line that its writer could
// not finish, or not enter into the head, because it was killed, is no problem.
Result<AuditVerdict> VerifyAuditLog(const std::string& path);

// The two on their own. `head` as in the file; none: only the chain is looked at.
AuditVerdict VerifyAuditText(std::string_view text, const std::string* head);

}  // namespace hmvm
