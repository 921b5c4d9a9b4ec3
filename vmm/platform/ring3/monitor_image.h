#pragma once

#include <cstddef>
#include <span>

namespace hmvm::ring3 {

// The monitor as CMake built it: linked for kMonitorBase, begins with a MonitorHeader.
std::span<const std::byte> MonitorImage();

}  // namespace hmvm::ring3
