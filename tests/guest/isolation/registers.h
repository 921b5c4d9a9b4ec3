// What the ways into the kernel and back leave in registers.
#pragma once

namespace isolation {

// Extended state and segment bases are what they were.
void CheckRegisters();
// After a system call rcx is where it returns to and r11 the flags, whenever an interrupt comes.
void CheckSystemCalls();

}  // namespace isolation
