#include "runtime/cli/options/shared.h"

#include <charconv>

namespace hmvm {

void AddContainer(Arguments& arguments, std::string& container) {
  arguments.Word("CONTAINER", container, "Name or id");
}

void AddContainers(Arguments& arguments, std::vector<std::string>& containers) {
  arguments.Words("CONTAINER", containers, "Names or ids");
}

void AddFormat(Arguments& arguments, bool& json) {
  arguments.Option("--format", "table", "table or json", [&json](const std::string& typed) -> Result<> {
    if (typed != "table" && typed != "json") {
      return Error{0, "--format '" + typed + "': there are table and json"};
    }
    json = typed == "json";
    return {};
  });
}

std::optional<uint64_t> ParseNumber(const std::string& typed) {
  uint64_t value = 0;
  const char* end = typed.data() + typed.size();
  const auto [rest, code] = std::from_chars(typed.data(), end, value);
  if (code != std::errc() || rest != end) return std::nullopt;
  return value;
}

}  // namespace hmvm
