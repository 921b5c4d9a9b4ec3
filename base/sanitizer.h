// Whether this build has AddressSanitizer or ThreadSanitizer, whose runtime makes system calls of its own.
#pragma once

#if defined(__has_feature)
#define HMVM_HAS_FEATURE(name) __has_feature(name)
#else
#define HMVM_HAS_FEATURE(name) 0
#endif

namespace hmvm {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HMVM_HAS_FEATURE(address_sanitizer) || \
    HMVM_HAS_FEATURE(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace hmvm
