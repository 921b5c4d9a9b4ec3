// Build tool: security/syscall_rules as seccomp filters, an array of BPF instructions a role, to standard
// output.
#include <linux/filter.h>
#include <linux/kvm.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "security/syscall_rules.h"

namespace hmvm {
namespace {

void Require(int result, const std::string& what) {
  if (result >= 0) return;
  std::fprintf(stderr, "make_filters: %s: %s\n", what.c_str(), std::strerror(-result));
  std::exit(1);
}

void Add(scmp_filter_ctx filter, const SyscallRule& rule) {
  std::vector<scmp_arg_cmp> checks;
  for (const ArgumentCheck& check : rule.checks) {
    checks.push_back(
        {.arg = check.index, .op = SCMP_CMP_MASKED_EQ, .datum_a = check.mask, .datum_b = check.value});
  }
  Require(seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, rule.number,
                                       static_cast<unsigned>(checks.size()), checks.data()),
          "system call " + std::to_string(rule.number) + " (" + rule.why + ")");
}

// What happens most is looked for first. Calls without checks need no order: the kernel remembers its answer
// to them.
std::vector<int> MostFrequent(ThreadRole role) {
  switch (role) {
    case ThreadRole::kVcpu:
      return {SYS_ioctl, SYS_write};
    case ThreadRole::kDevice:
      return {SYS_write, SYS_read, SYS_epoll_wait, SYS_readv, SYS_writev, SYS_io_uring_enter};
    case ThreadRole::kControl:
    case ThreadRole::kWorker:
      return {};
  }
  return {};
}

std::vector<sock_filter> Compile(ThreadRole role) {
  const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  Require(filter == nullptr ? -ENOMEM : 0, "seccomp_init");
  // Another architecture's numbers mean other calls.
  Require(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS),
          "SCMP_FLTATR_ACT_BADARCH");
  for (const SyscallRule& rule : RulesFor(role)) Add(filter, rule);
  for (const SyscallRule& rule : CommonRules()) Add(filter, rule);
  uint8_t priority = 255;
  for (const int call : MostFrequent(role)) {
    Require(seccomp_syscall_priority(filter, call, priority--), "priority of " + std::to_string(call));
  }
  const int file = ::memfd_create("filter", 0);
  Require(seccomp_export_bpf(filter, file), "seccomp_export_bpf");
  std::vector<sock_filter> program(static_cast<size_t>(::lseek(file, 0, SEEK_END)) / sizeof(sock_filter));
  const ssize_t bytes = ::pread(file, program.data(), program.size() * sizeof(sock_filter), 0);
  Require(bytes == static_cast<ssize_t>(program.size() * sizeof(sock_filter)) ? 0 : -EIO, "read the filter");
  ::close(file);
  seccomp_release(filter);
  return program;
}

void Print(ThreadRole role) {
  std::string name(NameOf(role));
  name[0] = static_cast<char>(std::toupper(name[0]));
  std::printf("constexpr sock_filter k%sFilter[] = {\n", name.c_str());
  for (const sock_filter& instruction : Compile(role)) {
    std::printf("    {0x%x, %u, %u, 0x%x},\n", instruction.code, instruction.jt, instruction.jf,
                instruction.k);
  }
  std::printf("};\n");
}

}  // namespace
}  // namespace hmvm

int main() {
  for (const hmvm::ThreadRole role : hmvm::kThreadRoles) hmvm::Print(role);
}
