#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hmvm {

// Bytes that a guest or a peer controls, made safe for a log line or a terminal: printable ASCII stays, all
// else (and the backslash) becomes \xNN; cut after `limit` input bytes with "...".
std::string Escape(std::string_view bytes, size_t limit = 256);

// A message that holds what users named, in whatever language, as one line: control characters become '?'.
std::string OneLine(std::string_view text);

}  // namespace hmvm
