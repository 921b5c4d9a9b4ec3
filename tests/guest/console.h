// For checks that talk on their guest's console.
#pragma once

// Until then Say() goes to standard error.
void OpenConsole();
// What can't be said ends the program: nobody would hear of its findings.
__attribute__((format(printf, 1, 2))) void Say(const char* format, ...);
