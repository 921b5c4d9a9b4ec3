#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hmvm {

// Bytes that a guest or a peer controls, made safe for a log line or a terminal: printable ASCII stays, all
// else (and the backslash) becomes \xNN; cut after `limit` input bytes with "...".
std::string Escape(std::string_view bytes, size_t limit = 256);

}  // namespace hmvm
