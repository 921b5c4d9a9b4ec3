// The kernel's capabilities by name. A set of them is a uint64_t, a bit for each by its number, as the kernel
// keeps it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hmvm {

// In the order of their numbers, from "CAP_CHOWN" = 0.
std::span<const std::string_view> CapabilityNames();

constexpr uint64_t CapabilityBit(int number) { return uint64_t{1} << number; }
uint64_t AllCapabilities();

// "CAP_CHOWN" as a set of one. Nothing for a name that is none.
std::optional<uint64_t> FindCapability(std::string_view name);

// By number, as a file or a person is told.
std::vector<std::string> NamesOfCapabilities(uint64_t set);

}  // namespace hmvm
