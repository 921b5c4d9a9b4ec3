// Instructions that are not the program's to execute, and any bytes at all.
#pragma once

namespace isolation {

void CheckInstructions();
void RunAnyBytes();

}  // namespace isolation
