#include "tests/guest/console.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>

namespace {

int console = STDERR_FILENO;

}  // namespace

void OpenConsole() { console = ::open("/dev/console", O_WRONLY); }

void Say(const char* format, ...) {
  char text[200];
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  if (::write(console, text, static_cast<size_t>(length)) < 0) ::_exit(2);
}
