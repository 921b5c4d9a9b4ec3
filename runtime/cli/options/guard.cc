#include "runtime/cli/options/guard.h"

#include "runtime/cli/options/shared.h"

namespace hmvm {

void AddGuard(CommandGroup& commands) {
  CommandGroup group =
      commands.AddGroup("guard", "Look after the eBPF guard, which polices virtual machine monitors",
                        "  hmvm guard load\n"
                        "  hmvm guard status");
  group.Add<GuardLoadOptions>(
      {.name = "load",
       .description = "Load the guard, or bring it to this version; `hmvm run` loads it where there is none",
       .usage = "guard load",
       .examples = "  hmvm guard load"});
  group.Add<GuardUnloadOptions>({.name = "unload",
                                 .description = "Remove the guard: what runs goes on without",
                                 .usage = "guard unload",
                                 .examples = "  hmvm guard unload"});
  auto status = group.Add<GuardStatusOptions>(
      {.name = "status",
       .description = "Show which layers are active, and what each virtual machine monitor does",
       .usage = "guard status [OPTIONS]",
       .examples = "  hmvm guard status\n"
                   "  hmvm guard status --exits\n"
                   "  hmvm guard status --format json | jq '.machines[].calls'"});
  status.Flag("--exits", status->exits,
              "Also count each machine's exits, for a second; that costs the machines some time");
  AddFormat(status, status->json);
}

void AddAudit(CommandGroup& commands) {
  CommandGroup group =
      commands.AddGroup("audit", "Look after the log of what security has met", "  hmvm audit verify");
  auto verify = group.Add<AuditVerifyOptions>(
      {.name = "verify",
       .description = "Find out whether lines of the audit log were changed, moved or cut off",
       .usage = "audit verify [FILE]",
       .examples = "  hmvm audit verify\n"
                   "  hmvm audit verify /var/backups/audit/audit.jsonl   with its audit.head beside it"});
  verify.OptionalWord("FILE", verify->file, "A log (default: the one below --root)");
}

}  // namespace hmvm
