#include "runtime/cli/commands.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/escape.h"
#include "base/file.h"
#include "runtime/cli/output.h"
#include "runtime/template/store.h"

namespace hmvm {

void PrintError(const std::string& text) { (void)WriteAll(STDERR_FILENO, "hmvm: " + OneLine(text) + "\n"); }

Result<> Print(const std::string& text) {
  if (auto written = WriteAll(STDOUT_FILENO, text); !written.has_value()) {
    return Error{written.error().code, "write to standard output"};
  }
  return {};
}

Result<int> ForEach(const std::vector<std::string>& names,
                    const std::function<Result<>(const std::string&)>& act) {
  int exit_code = 0;
  for (const std::string& name : names) {
    if (auto done = act(name); !done.has_value()) {
      PrintError(done.error().Message());
      exit_code = kExitFailed;
    }
  }
  return exit_code;
}

void Folders::Sweep(const ContainerStore& containers) const {
  containers.Sweep();
  TemplateStore(templates()).Sweep();
}

Result<int> Execute(const Folders&, const HelpText& help) {
  HMVM_TRY(Print(help.text));
  return 0;
}

Result<int> Execute(const Folders&, const VersionOptions& options) {
  HMVM_TRY(Print(options.json ? nlohmann::json({{"version", HMVM_VERSION}}).dump() + "\n"
                              : std::string("hmvm ") + HMVM_VERSION + "\n"));
  return 0;
}

}  // namespace hmvm
