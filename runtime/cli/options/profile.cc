#include "runtime/cli/options/profile.h"

#include "runtime/cli/options/command_tree.h"

namespace hmvm {

void AddProfile(CommandGroup& commands) {
  CommandGroup group = commands.AddGroup("profile", "Check and show security profiles",
                                         "  hmvm profile show strict > web.yaml\n"
                                         "  hmvm run --security-profile web.yaml busybox");
  auto check = group.Add<ProfileCheckOptions>({.name = "check",
                                               .description = "Say what is wrong with profiles",
                                               .usage = "profile check FILE...",
                                               .examples = "  hmvm profile check web.yaml"});
  check.Words("FILE", check->files, "Files");

  auto show =
      group.Add<ProfileShowOptions>({.name = "show",
                                     .description = "Show all that a profile comes to, its defaults included",
                                     .usage = "profile show PROFILE",
                                     .examples = "  hmvm profile show strict\n"
                                                 "  hmvm profile show web.yaml"});
  show.Word("PROFILE", show->profile, "default, strict or a file");
}

}  // namespace hmvm
