// Profiles are files of anybody's. What is accepted must compile to a filter that the kernel takes, or be
// refused.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/capabilities.h"
#include "security/container/seccomp_filter.h"
#include "security/container/seccomp_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parsed = hmvm::ParseSeccompJson(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed.has_value()) return 0;
  for (const uint64_t capabilities : {uint64_t{0}, hmvm::AllCapabilities()}) {
    const auto filter = hmvm::CompileSeccomp(parsed->profile, capabilities);
    if (!filter.has_value()) continue;
    if (filter->size() > BPF_MAXINSNS) std::abort();
    for (size_t i = 0; i < filter->size(); ++i) {
      const sock_filter& at = (*filter)[i];
      if (BPF_CLASS(at.code) != BPF_JMP) continue;
      const uint32_t farthest = BPF_OP(at.code) == BPF_JA ? at.k : std::max(at.jt, at.jf);
      if (i + 1 + farthest >= filter->size()) std::abort();
    }
    if (BPF_CLASS(filter->back().code) != BPF_RET) std::abort();
  }
  return 0;
}
