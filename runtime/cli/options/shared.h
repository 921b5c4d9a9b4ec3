// Arguments that several commands have, and what values are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/cli/options/command_tree.h"

namespace hmvm {

void AddContainer(Arguments& arguments, std::string& container);
void AddContainers(Arguments& arguments, std::vector<std::string>& containers);
// --format
void AddFormat(Arguments& arguments, bool& json);

std::optional<uint64_t> ParseNumber(const std::string& typed);

// `into` becomes what `parse` makes of the value of `option`, whose name stands in front of its error.
template <typename Parse, typename Into>
Take Parsed(const char* option, Parse parse, Into& into) {
  return [option, parse, &into](const std::string& typed) -> Result<> {
    auto value = parse(typed);
    if (!value.has_value()) return Error{0, std::string(option) + " " + value.error().what};
    into = std::move(*value);
    return {};
  };
}

}  // namespace hmvm
