// Errors as values. A function that can fail returns Result<T>; the caller decides, entry points log once.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace hmvm {

struct Error {
  int code = 0;      // errno value; 0 where no system call failed
  std::string what;  // "open '/dev/kvm'": lower case, names the object, no full stop

  // One clear sentence for a person: "open '/dev/kvm': Permission denied".
  std::string Message() const { return code == 0 ? what : what + ": " + std::strerror(code); }
};

template <typename T = void>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  Result() = default;
  Result(Error error)
      : tl::expected<T, Error>(tl::unexpect, std::move(error)) {}  // NOLINT: implicit by intent
};

// The same error with the name of the larger thing that failed in front.
inline Error Wrap(const std::string& context, Error error) {
  error.what = context + ": " + error.what;
  return error;
}

}  // namespace hmvm

#define HMVM_CONCAT_INNER(a, b) a##b
#define HMVM_CONCAT(a, b) HMVM_CONCAT_INNER(a, b)

// Evaluates a Result<> and returns its error from the calling function.
#define HMVM_TRY(expression)                                       \
  do {                                                             \
    if (auto hmvm_result = (expression); !hmvm_result.has_value()) \
      return ::hmvm::Error(std::move(hmvm_result).error());        \
  } while (false)

// HMVM_TRY_ASSIGN(UniqueFd fd, OpenFile(path, O_RDONLY)): declares or assigns, or returns the error.
#define HMVM_TRY_ASSIGN(target, expression) \
  HMVM_TRY_ASSIGN_IMPL(HMVM_CONCAT(hmvm_result_, __LINE__), target, expression)
// NOLINTBEGIN(bugprone-macro-parentheses): `target` may be a declaration
#define HMVM_TRY_ASSIGN_IMPL(result, target, expression)                    \
  auto result = (expression);                                               \
  if (!result.has_value()) return ::hmvm::Error(std::move(result).error()); \
  target = std::move(result).value()
// NOLINTEND(bugprone-macro-parentheses)
