#pragma once

#include <string_view>

namespace hmvm::agent {

enum class Severity { kError = 3, kWarning = 4, kInfo = 6 };  // the kernel's log levels

// One line to the kernel's log, escaped. Lines before /dev/kmsg exists are lost.
void Log(Severity severity, std::string_view text);

}  // namespace hmvm::agent
