#!/bin/sh
# Many of stress-ng's stressors at once, each of which checks what it does. tests/stress runs nearly all, by hand.
cpu="cpu matrix memcpy fp vecmath regs bsearch qsort"
memory="vm vm-rw vm-segv mmap mremap mprotect madvise malloc brk stack"
processes="fork vfork clone pthread exit-group wait zombie switch context ptrace"
signals="signal sigq sigfpe sigsegv sigtrap sigchld sigsuspend sigpending"
timers="timer timerfd itimer nanosleep alarm"
between="futex mutex sem pipe fifo eventfd epoll poll sockpair msg mq"
set --
for stressor in $cpu $memory $processes $signals $timers $between; do set -- "$@" "--$stressor" 1; done
if stress-ng "$@" --vm-bytes 8m --mmap-bytes 8m --malloc-bytes 8m --verify --timeout 8s >stress.log 2>&1; then
  echo "$(($# / 2)) stressors"
else
  cat stress.log
  exit 1
fi
