#include "security/guard/event.h"

#include <sys/syscall.h>

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bpf/guard.h"

namespace hmvm {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

guard_event Breach() {
  guard_event record = {};
  record.monotonic_ns = 5;
  record.cgroup = 77;
  record.kind = GUARD_SYSCALL_BREACH;
  record.deed = GUARD_KILLED;
  record.state = GUARD_SEALED;
  record.number = SYS_openat;
  record.pid = 4711;
  record.tid = 4712;
  record.arguments[0] = 0xffffff9c;
  record.stack[0] = 0x401000;
  std::strcpy(record.thread, "vcpu0");
  std::memset(record.process, 'x', sizeof(record.process));  // not terminated
  return record;
}

std::optional<GuardEvent> Decode(const guard_event& record) {
  return DecodeGuardEvent(std::as_bytes(std::span(&record, 1)));
}

TEST(GuardEventTest, ARecordIsReadWhole) {
  const auto event = Decode(Breach());

  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, "system call");
  EXPECT_EQ(event->deed, "killed");
  EXPECT_EQ(event->state, "sealed");
  EXPECT_EQ(event->call, "openat");
  EXPECT_EQ(event->cgroup, 77u);
  EXPECT_EQ(event->pid, 4711u);
  EXPECT_EQ(event->thread, "vcpu0");
  EXPECT_EQ(event->process, std::string(16, 'x'));
  EXPECT_THAT(event->stack, ElementsAre(0x401000u));
  EXPECT_EQ(event->Describe(), "openat(0xffffff9c, 0, 0, 0, 0, 0) by thread 'vcpu0' of process 4711, sealed");
}

TEST(GuardEventTest, WhatIsNoRecordIsNone) {
  guard_event record = Breach();
  EXPECT_FALSE(DecodeGuardEvent(std::as_bytes(std::span(&record, 1)).subspan(1)).has_value());
  EXPECT_FALSE(DecodeGuardEvent({}).has_value());
  record.kind = 0;
  EXPECT_FALSE(Decode(record).has_value());
  record.kind = GUARD_SOCKET_DENIED;
  record.number = 99;
  EXPECT_FALSE(Decode(record).has_value());
  record = Breach();
  record.deed = 99;
  EXPECT_FALSE(Decode(record).has_value());
  record = Breach();
  record.state = GUARD_STATES;
  EXPECT_FALSE(Decode(record).has_value());
}

TEST(GuardEventTest, NamesThatTheVmmChoseAreHarmless) {
  guard_event record = Breach();
  std::strcpy(record.thread, "\x1b[2J\n");

  EXPECT_EQ(Decode(record)->thread, "\\x1b[2J\\x0a");
}

TEST(GuardEventTest, EachKindHasWords) {
  guard_event record = Breach();
  record.number = 2;
  for (uint32_t kind = GUARD_SYSCALL_BREACH; kind <= GUARD_LSM_DENIED; ++kind) {
    record.kind = kind;
    const auto event = Decode(record);
    ASSERT_TRUE(event.has_value()) << kind;
    EXPECT_FALSE(event->call.empty()) << kind;
  }
}

TEST(GuardEventTest, SystemCallsHaveTheirNames) {
  EXPECT_EQ(SyscallName(SYS_read), "read");
  EXPECT_EQ(SyscallName(SYS_io_uring_enter), "io_uring_enter");
  EXPECT_EQ(SyscallName(100000), "100000");
}

}  // namespace
}  // namespace hmvm
