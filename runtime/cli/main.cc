// hmvm: containers that are microVMs. The command line; `run` also becomes the container's supervisor.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "runtime/cli/command_line.h"
#include "runtime/cli/commands.h"

namespace {

// A caller may close 0, 1 or 2. The next file that we open would take the number, and a child would have it
// as its standard stream.
void OpenStandardStreams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    // The lowest free number is `fd`: those below it are open by now.
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", O_RDWR);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace hmvm;
  OpenStandardStreams();
  auto line = ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc));
  if (!line.has_value()) {
    PrintError(line.error().Message());
    return kExitFailed;
  }
  const Folders folders{.root = std::filesystem::absolute(line->root),
                        .run_root = std::filesystem::absolute(line->run_root)};
  const Result<int> exit_code =
      std::visit([&](const auto& options) { return Execute(folders, options); }, line->command);
  if (!exit_code.has_value()) {
    PrintError(exit_code.error().Message());
    return kExitFailed;
  }
  return *exit_code;
}
