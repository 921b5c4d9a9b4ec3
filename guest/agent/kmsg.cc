#include "guest/agent/kmsg.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "base/escape.h"
#include "base/unique_fd.h"

namespace hmvm::agent {

void Log(Severity severity, std::string_view text) {
  constexpr size_t kLineBytes = 800;  // the kernel cuts lines that are longer than about 1000
  static const UniqueFd kmsg(::open("/dev/kmsg", O_WRONLY | O_CLOEXEC));
  const std::string line =
      "<" + std::to_string(static_cast<int>(severity)) + ">hmvm-agent: " + Escape(text, kLineBytes) + "\n";
  (void)!::write(kmsg.get(), line.data(), line.size());  // there is nowhere to tell a failure
}

}  // namespace hmvm::agent
