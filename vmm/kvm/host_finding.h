#pragma once

#include <string>

namespace hmvm {

struct HostFinding {
  enum class Verdict {
    kOk,
    kNote,    // worth knowing; nothing is missing
    kMissing  // a platform that needs it cannot run here
  };
  std::string name;     // "guest ring 0"
  std::string value;    // "interpreted (2.5 ms for 2,000 iterations)"
  std::string meaning;  // one line: what follows from it
  Verdict verdict = Verdict::kOk;
};

}  // namespace hmvm
