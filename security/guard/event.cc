#include "security/guard/event.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/escape.h"
#include "bpf/guard.h"

namespace hmvm {
namespace {

struct SyscallNameEntry {
  int number;
  const char* name;
};

// Made at configure time of the system's <asm/unistd_64.h>.
constexpr SyscallNameEntry kSyscallNames[] = {
#include "security/guard/syscall_names.inc"
};

template <size_t N>
const char* NameIn(const char* const (&names)[N], uint32_t index) {
  return index < N ? names[index] : nullptr;
}

constexpr const char* kKinds[] = {nullptr,    "system call", "32-bit system call",
                                  "io_uring", "socket",      "process",
                                  "program",  "lsm",         "seccomp"};
constexpr const char* kDeeds[] = {"noted", "denied", "killed"};
constexpr const char* kStates[] = {"setting up", "sealed"};
constexpr const char* kSocketCalls[] = {"socket", "bind", "connect", "send"};
constexpr const char* kLsmHooks[] = {"open a file", "execute", "socket", "connect",    "ptrace",
                                     "mount",       "kill",    "bpf",    "kernel file"};

// Nothing: a number that the kind does not have.
std::optional<std::string> CallOf(const guard_event& record) {
  const auto known = [](const char* name) {
    return name == nullptr ? std::nullopt : std::optional<std::string>(name);
  };
  const auto number = static_cast<uint32_t>(record.number);
  switch (record.kind) {
    case GUARD_SYSCALL_BREACH:
    case GUARD_SECCOMP_KILLED:
      return SyscallName(record.number);
    case GUARD_SOCKET_DENIED:
      return known(NameIn(kSocketCalls, number));
    case GUARD_LSM_DENIED:
      return known(NameIn(kLsmHooks, number));
    case GUARD_NEW_PROCESS:
      return "fork";
    case GUARD_NEW_PROGRAM:
      return "execve";
    case GUARD_URING_BREACH:
      return "io_uring operation " + std::to_string(number);
    default:
      return "system call " + std::to_string(record.number) + " of another ABI";
  }
}

std::string Text(const char (&field)[GUARD_COMM]) {
  return Escape(std::string_view(field, ::strnlen(field, sizeof(field))));
}

}  // namespace

std::string SyscallName(int number) {
  for (const SyscallNameEntry& entry : kSyscallNames) {
    if (entry.number == number) return entry.name;
  }
  return std::to_string(number);
}

std::optional<GuardEvent> DecodeGuardEvent(std::span<const std::byte> bytes) {
  guard_event record;
  if (bytes.size() != sizeof(record)) return std::nullopt;
  std::memcpy(&record, bytes.data(), sizeof(record));
  const char* const kind = NameIn(kKinds, record.kind);
  const char* const deed = NameIn(kDeeds, record.deed);
  const char* const state = NameIn(kStates, record.state);
  if (kind == nullptr || deed == nullptr || state == nullptr) return std::nullopt;
  auto call = CallOf(record);
  if (!call.has_value()) return std::nullopt;
  GuardEvent event{.monotonic_ns = record.monotonic_ns,
                   .cgroup = record.cgroup,
                   .kind = kind,
                   .deed = deed,
                   .state = state,
                   .number = record.number,
                   .call = std::move(*call),
                   .stack = {},
                   .pid = record.pid,
                   .tid = record.tid,
                   .uid = record.uid,
                   .gid = record.gid,
                   .thread = Text(record.thread),
                   .process = Text(record.process)};
  std::copy(std::begin(record.arguments), std::end(record.arguments), event.arguments.begin());
  for (const uint64_t address : record.stack) {
    if (address == 0) break;
    event.stack.push_back(address);
  }
  return event;
}

std::string GuardEvent::Describe() const {
  std::string text = call;
  if (kind == "system call" || (kind == "seccomp" && number >= 0)) {
    text += '(';
    for (size_t i = 0; i < arguments.size(); ++i) {
      char number[24];
      std::snprintf(number, sizeof(number), "%s%#" PRIx64, i == 0 ? "" : ", ", arguments[i]);
      text += number;
    }
    text += ')';
  } else if (kind == "socket" || kind == "lsm") {
    text = kind + ": " + call;
  }
  return text + " by thread '" + thread + "' of process " + std::to_string(pid) + ", " + state;
}

}  // namespace hmvm
