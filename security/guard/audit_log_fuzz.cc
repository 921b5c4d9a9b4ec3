// The audit log and its head, with any bytes in them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "security/guard/audit_log.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t cut = text.find('\0');
  const std::string head = cut == std::string::npos ? "" : text.substr(cut + 1);
  const hmvm::AuditVerdict alone = hmvm::VerifyAuditText(text, nullptr);
  const hmvm::AuditVerdict both = hmvm::VerifyAuditText(std::string_view(text).substr(0, cut), &head);
  if (alone.last.size() != 64 || both.last.size() != 64) std::abort();
  return 0;
}
