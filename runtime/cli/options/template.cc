#include "runtime/cli/options/template.h"

#include "runtime/cli/options/shared.h"

namespace hmvm {

void AddTemplate(CommandGroup& commands) {
  CommandGroup group =
      commands.AddGroup("template", "Look after the booted guests that containers start from",
                        "  hmvm template build -m 512m\n"
                        "  hmvm template ls");
  auto build = group.Add<TemplateBuildOptions>(
      {.name = "build",
       .description = "Boot a guest and keep it for containers of its size to start from",
       .usage = "template build [OPTIONS]",
       .examples = "  hmvm template build\n"
                   "  hmvm template build --cpus 2 -m 1g"});
  AddMachine(build, *build);

  auto ls = group.Add<TemplateLsOptions>({.name = "ls",
                                          .description = "List templates",
                                          .usage = "template ls [OPTIONS]",
                                          .examples = "  hmvm template ls\n"
                                                      "  hmvm template ls --format json"});
  ls.Flag("-q,--quiet", ls->quiet, "Ids only");
  AddFormat(ls, ls->json);

  auto rm = group.Add<TemplateRmOptions>(
      {.name = "rm",
       .description = "Remove templates; `hmvm run` makes them again when it needs them",
       .usage = "template rm TEMPLATE...",
       .examples = "  hmvm template rm $(hmvm template ls -q)"});
  rm.Words("TEMPLATE", rm->templates, "Ids, or their beginnings");
}

}  // namespace hmvm
