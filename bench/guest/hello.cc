// An init that says one line and ends the machine.
#include <sys/reboot.h>
#include <unistd.h>

int main() {
  (void)!::write(1, "hello\n", 6);
  for (;;) ::reboot(RB_AUTOBOOT);
}
