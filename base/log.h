// Logging of the service binaries: glog, one line an event; what a guest or peer sent goes through Escape().
// Include <glog/logging.h> through this header.
#pragma once

#include <glog/logging.h>

#include "base/escape.h"

namespace hmvm {

// Sends all log lines to standard error. Call once, first thing in main.
void InitLog(const char* program);

}  // namespace hmvm
