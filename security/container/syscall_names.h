#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hmvm {

// A system call's name as x86-64's 64-bit programs have it.
struct SyscallName {
  // Nothing: a call of other architectures only ("chown32"), which a filter for this one can leave out.
  std::optional<int> number;
};

// Nothing for a name that no architecture has.
std::optional<SyscallName> FindSyscall(const std::string& name);

// "read"; "system call 999" for a number without a name.
std::string NameOfSyscall(int number);

}  // namespace hmvm
