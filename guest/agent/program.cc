#include "guest/agent/program.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace hmvm::agent {
namespace {

// 0, or the errno that tells why the file can't be executed.
int CheckExecutable(const std::string& file) {
  struct stat status = {};
  if (::stat(file.c_str(), &status) < 0) return errno;
  if (S_ISDIR(status.st_mode)) return EISDIR;
  // A root with all capabilities passes access(2) for any file that has one x bit; so does execve(2).
  return ::faccessat(AT_FDCWD, file.c_str(), X_OK, AT_EACCESS) < 0 ? errno : 0;
}

}  // namespace

std::string Reason(int errno_value) {
  std::string text = std::strerror(errno_value);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

Result<std::string> FindProgram(const std::string& name, std::string_view path) {
  const std::string quoted = "exec: \"" + name + "\": ";
  if (name.find('/') != std::string::npos) {
    const int error = CheckExecutable(name);
    if (error == 0) return name;
    if (error == EACCES || error == EISDIR) return Error{EACCES, quoted + Reason(error)};
    return Error{ENOENT, quoted + "stat " + name + ": " + Reason(error)};
  }
  for (bool last = name.empty(); !last;) {
    const size_t end = path.find(':');
    const std::string directory(end == 0 || path.empty() ? "." : path.substr(0, end));
    last = end == std::string_view::npos;
    path.remove_prefix(last ? path.size() : end + 1);
    const std::string file = directory + "/" + name;
    if (CheckExecutable(file) == 0) return file;
  }
  return Error{ENOENT, quoted + "executable file not found in $PATH"};
}

}  // namespace hmvm::agent
