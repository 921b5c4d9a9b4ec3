#!/bin/bash
# gdb at its work: breakpoints, steps, a software watchpoint, a crash, a call. Prints what gdb says without addresses.
set -eu
cat >debugged.c <<'C'
#include <stdio.h>
#include <stdlib.h>
static int table[4];
static int twice(int n) {
  int result = n * 2;
  return result;
}
static void fill(void) {
  for (int i = 0; i < 4; ++i) table[i] = twice(i);
}
int main(int argc, char** argv) {
  fill();
  printf("filled %d\n", table[3]);
  if (argc > 1) *(volatile int*)atol(argv[1]) = 1;
  return table[1];
}
C
gcc -g -O0 -w -o debugged debugged.c
run() {
  gdb -nx -q -batch -ex 'set confirm off' -ex 'set pagination off' -ex 'set width 0' "$@" 2>&1 |
    sed -E 's/0x[0-9a-f]{6,}/ADDRESS/g; s/\(process [0-9]+\)/(process N)/; s/\[Inferior 1 \(process [0-9]+\)/[Inferior/; /debuginfod|libthread_db|warning: Error disabling address space/d'
}
echo '== break, backtrace, step, finish'
run -ex 'break main' -ex run -ex bt -ex 'break twice if n == 2' -ex continue -ex bt -ex step -ex 'info locals' -ex finish \
  -ex 'print table' -ex 'stepi' -ex 'nexti' -ex 'info registers eflags cs ss ds' -ex delete -ex continue ./debugged
echo '== watch, in software'
run -ex 'set can-use-hw-watchpoints 0' -ex 'break fill' -ex run -ex 'watch table[2]' -ex continue -ex continue ./debugged
echo '== a crash'
run -ex 'run' -ex bt -ex 'print $_siginfo._sifields._sigfault.si_addr' -ex 'print $_siginfo.si_code' --args ./debugged 8
echo '== a call and a change'
run -ex 'break 14' -ex run -ex 'print twice(21)' -ex 'set var table[1] = 5' -ex 'set var argc = 1' \
  -ex continue -ex 'print $_exitcode' ./debugged
