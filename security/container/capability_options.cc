#include "security/container/capability_options.h"

#include <linux/capability.h>

#include "base/capabilities.h"
#include "base/escape.h"
#include "base/nearest.h"

namespace hmvm {
namespace {

struct Wish {
  uint64_t set = 0;
  bool all = false;
};

Result<Wish> ParseWish(const char* option, const std::vector<std::string>& texts) {
  Wish wish;
  for (const std::string& text : texts) {
    HMVM_TRY_ASSIGN(const uint64_t set, [&]() -> Result<uint64_t> {
      auto parsed = ParseCapability(text);
      if (!parsed.has_value()) return Wrap(option, parsed.error());
      return parsed;
    }());
    wish.all = wish.all || set == AllCapabilities();
    wish.set |= set;
  }
  return wish;
}

}  // namespace

uint64_t DefaultCapabilities() {
  uint64_t set = 0;
  for (const int number :
       {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP,
        CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT, CAP_MKNOD, CAP_AUDIT_WRITE, CAP_SETFCAP}) {
    set |= CapabilityBit(number);
  }
  return set;
}

Result<uint64_t> ParseCapability(std::string_view text) {
  std::string name(text);
  for (char& c : name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  if (name == "ALL") return AllCapabilities();
  if (!name.starts_with("CAP_")) name.insert(0, "CAP_");
  if (const auto found = FindCapability(name)) return *found;
  return Error{0, "unknown capability '" + Escape(text, 64) + "'" + DidYouMean(name, CapabilityNames())};
}

Result<uint64_t> ApplyCapabilityOptions(uint64_t given, const std::vector<std::string>& add,
                                        const std::vector<std::string>& drop) {
  HMVM_TRY_ASSIGN(const Wish more, ParseWish("--cap-add", add));
  HMVM_TRY_ASSIGN(const Wish less, ParseWish("--cap-drop", drop));
  if (more.all && less.all) return Error{0, "--cap-add ALL and --cap-drop ALL contradict each other"};
  if (more.all) return AllCapabilities() & ~less.set;
  if (less.all) return more.set;
  return (given & ~less.set) | more.set;
}

}  // namespace hmvm
