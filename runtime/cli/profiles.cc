// `hmvm profile check` and `show`.
#include "runtime/cli/commands.h"
#include "runtime/container/profile_use.h"
#include "security/profile/profile.h"

namespace hmvm {

Result<int> Execute(const Folders&, const ProfileCheckOptions& options) {
  return ForEach(options.files, [](const std::string& file) -> Result<> {
    HMVM_TRY_ASSIGN(const SecurityProfile profile, LoadSecurityProfile(file));
    std::vector<std::string> warnings;
    HMVM_TRY(Confine({}, DefaultsOf(profile), warnings));
    for (const std::string& warning : warnings) PrintError("warning: " + warning);
    return Print(file + ": good\n");
  });
}

Result<int> Execute(const Folders&, const ProfileShowOptions& options) {
  HMVM_TRY_ASSIGN(const SecurityProfile profile, LoadSecurityProfile(options.profile));
  HMVM_TRY(Print(FormatSecurityProfile(profile)));
  return 0;
}

}  // namespace hmvm
