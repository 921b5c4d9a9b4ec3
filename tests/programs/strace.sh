#!/bin/bash
# strace -f over processes, signals and a seccomp filter of its own. Prints its log without addresses, pids and times, nor
# the spaces that align it, which depend on a pid's length.
set -eu
normal() { sed -E 's/^[0-9]+ +//; s/0x[0-9a-f]{6,}/ADDRESS/g; s/\b(si_pid|si_utime|si_stime|child_tidptr)=[A-Za-z0-9]+/\1=N/; s/\b[0-9]{2,}\b/N/g; s/ +/ /g'; }
calls=execve,openat,write,exit_group,kill,pipe2,dup2,rt_sigreturn
echo '== one process'
strace -o log -e trace=$calls cat /etc/debian_version >/dev/null
normal <log
echo '== what it counts'
strace -f -c -o log -e trace=execve,exit_group sh -c 'true; /bin/true; /bin/true'
awk '$NF == "execve" || $NF == "exit_group" {print $NF, $4}' log | sort
echo '== children, with a filter in the kernel'
# In a shell of its own, whose words about the signal have a pid.
(strace -f --seccomp-bpf -o log -e trace=exit_group,kill sh -c '(exit 3); kill -USR1 $$; exit 4'; exit $?) 2>/dev/null ||
  echo "exit $?"
normal <log | sort
echo '== a call that strace makes fail, and a signal'
strace -o log -e trace=mkdir -e inject=mkdir:error=ENOSPC mkdir here 2>&1 || echo "exit $?"
normal <log
(strace -o log -e trace=none sh -c 'kill -SEGV $$'; exit $?) 2>/dev/null || echo "exit $?"
normal <log
