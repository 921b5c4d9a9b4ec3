// The gates between a program and its kernel, entered at any byte and with any registers.
#pragma once

#include <cstdint>
#include <vector>

namespace isolation {

// A thread on each processor at once.
void CheckGatesOnAllProcessors(const std::vector<uint64_t>& gates);

}  // namespace isolation
