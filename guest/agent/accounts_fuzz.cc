// Users resolved in hostile passwd and group files: the input is USER \0 PASSWD \0 GROUP.
#include <cstdint>
#include <cstdlib>

#include "guest/agent/accounts.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: a view of the fuzzer's own bytes.
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::string_view parts[3];
  for (std::string_view& part : parts) {
    part = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(part.size() < rest.size() ? part.size() + 1 : rest.size());
  }
  const auto account = hmvm::agent::ResolveUser(parts[0], parts[1], parts[2]);
  if (account.has_value() && (account->uid > INT32_MAX || account->gid > INT32_MAX)) std::abort();
  if (!account.has_value() && account.error().code != EINVAL) std::abort();
  return 0;
}
