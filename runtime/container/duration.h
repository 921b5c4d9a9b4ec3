// Times as people type them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace hmvm {

// "1h30m", "90s", "1.5s", "500ms": one or more numbers with a unit of h, m, s, ms, us, ns, as docker takes
// them; "0" needs none. Not negative. EINVAL with the accepted forms in the text.
Result<std::chrono::nanoseconds> ParseDuration(std::string_view text);

// A moment as nanoseconds since 1970: RFC 3339 ("2026-01-02T03:04:05Z", with a fraction, with "+01:00"),
// seconds since 1970 ("1767323045.5"), or a duration, which is that long before `now_unix_ns`.
Result<int64_t> ParseMoment(std::string_view text, int64_t now_unix_ns);

}  // namespace hmvm
