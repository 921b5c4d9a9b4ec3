// Every page that is mapped and is none of the program's: read, written, executed.
#pragma once

#include <cstdint>
#include <vector>

namespace isolation {

// The pages of the monitor's that can be read: the gates. All others take nothing.
std::vector<uint64_t> CheckMonitor();
void CheckKernel();

}  // namespace isolation
