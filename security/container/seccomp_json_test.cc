#include "security/container/seccomp_json.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include <gtest/gtest.h>

#include "base/capabilities.h"
#include "security/container/seccomp_filter.h"
#include "security/container/testing/run_filter.h"

namespace hmvm {
namespace {

std::string ErrorOf(const std::string& text) {
  const auto parsed = ParseSeccompJson(text);
  return parsed.has_value() ? "" : parsed.error().what;
}

// A profile of one row with these members.
std::string Row(const std::string& members) {
  return R"({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], )" + members + "}]}";
}

SeccompVerdict Answer(const std::string& text, int call, uint64_t first = 0, uint64_t capabilities = 0) {
  const auto parsed = ParseSeccompJson(text);
  EXPECT_TRUE(parsed.has_value()) << parsed.error().what;
  if (!parsed.has_value()) return UINT32_MAX;
  return RunFilter(CompileSeccomp(parsed->profile, capabilities).value(),
                   {.nr = call, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = 0, .args = {first}});
}

constexpr char kProfile[] = R"({
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
  "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
              {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
  "syscalls": [
    {"names": ["read", "chown32", "no_such_call"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "",
     "includes": {}, "excludes": {}},
    {"name": "write", "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": null},
    {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
                                                               {"index": 0, "value": 3, "op": "SCMP_CMP_EQ"}]},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
     "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
     "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"]}},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390"]}},
    {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    {"names": ["mseal"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "7.0"}},
    {"names": ["bpf"], "action": "SCMP_ACT_KILL_PROCESS"}
  ]})";

TEST(SeccompJsonTest, RowsMeanWhatDockersMean) {
  EXPECT_EQ(Answer(kProfile, SYS_read), SECCOMP_RET_ALLOW);
  EXPECT_EQ(Answer(kProfile, SYS_write), FailWith(EIO));
  EXPECT_EQ(Answer(kProfile, SYS_open), FailWith(ENOSYS)) << "the default";
  EXPECT_EQ(Answer(kProfile, SYS_socket, 2), SECCOMP_RET_ALLOW) << "two checks of one argument: either";
  EXPECT_EQ(Answer(kProfile, SYS_socket, 3), SECCOMP_RET_ALLOW);
  EXPECT_EQ(Answer(kProfile, SYS_socket, 4), FailWith(ENOSYS));
  EXPECT_EQ(Answer(kProfile, SYS_clone, 17), SECCOMP_RET_ALLOW);
  EXPECT_EQ(Answer(kProfile, SYS_clone, 0x10000000), FailWith(ENOSYS));
  EXPECT_EQ(Answer(kProfile, SYS_clone, 17, CapabilityBit(CAP_SYS_ADMIN)), FailWith(ENOSYS));
  EXPECT_EQ(Answer(kProfile, SYS_mount), FailWith(ENOSYS));
  EXPECT_EQ(Answer(kProfile, SYS_mount, 0, CapabilityBit(CAP_SYS_ADMIN)), SECCOMP_RET_ALLOW);
  EXPECT_EQ(Answer(kProfile, SYS_kcmp), FailWith(ENOSYS));
  EXPECT_EQ(Answer(kProfile, SYS_ptrace), SECCOMP_RET_ALLOW);
  EXPECT_EQ(Answer(kProfile, SYS_bpf), SECCOMP_RET_KILL_PROCESS);
}

TEST(SeccompJsonTest, NamesThatNobodyHasAreToldAndPassedOver) {
  const auto parsed = ParseSeccompJson(kProfile);

  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->warnings,
            std::vector<std::string>{"syscalls[0].names[2]: unknown system call 'no_such_call', ignoring"});
}

TEST(SeccompJsonTest, ErrorsSayWhere) {
  EXPECT_EQ(ErrorOf("{\n  \"defaultAction\": ,\n}"), "line 2:20: this is not JSON");
  EXPECT_EQ(ErrorOf(""), "line 1:1: this is not JSON");
  EXPECT_EQ(ErrorOf("[]"), "not an object");
  EXPECT_EQ(ErrorOf("{}"), "defaultAction: is missing");
  EXPECT_EQ(ErrorOf(R"({"defaultAction": "SCMP_ACT_ALOW"})"),
            "defaultAction: 'SCMP_ACT_ALOW' is no action; did you mean 'SCMP_ACT_ALLOW'?");
  EXPECT_EQ(ErrorOf(R"({"defaultAction": "SCMP_ACT_ALLOW", "syscals": []})"),
            "'syscals': unknown member; did you mean 'syscalls'?");
  EXPECT_EQ(ErrorOf(R"({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_AARCH64"]})"),
            "architectures: SCMP_ARCH_X86_64 is not among them, but the guest is");
  EXPECT_EQ(ErrorOf(R"({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]})"),
            "flags[0]: 'SECCOMP_FILTER_FLAG_LOG' is not to be had");
  EXPECT_EQ(ErrorOf(Row(R"("action": "SCMP_ACT_NOTIFY")")),
            "syscalls[0].action: 'SCMP_ACT_NOTIFY': there is nobody in the guest to be asked");
  EXPECT_EQ(ErrorOf(Row(R"("action": "SCMP_ACT_ALLOW", "arg": [])")),
            "syscalls[0]: unknown member 'arg'; did you mean 'args'?");
  EXPECT_EQ(ErrorOf(Row(R"("action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}])")),
            "syscalls[0].args[0].index: 6 is more than 5");
  EXPECT_EQ(ErrorOf(Row(R"("action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "=="}])")),
            "syscalls[0].args[0].op: '==' is no comparison");
  EXPECT_EQ(
      ErrorOf(Row(R"("action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}])")),
      "syscalls[0].args[0].value: not a whole number from 0 up");
  EXPECT_EQ(
      ErrorOf(Row(R"("action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIM"]})")),
      "syscalls[0].includes.caps[0]: unknown capability 'CAP_SYS_ADMIM'; did you mean 'CAP_SYS_ADMIN'?");
  EXPECT_EQ(ErrorOf(Row(R"("action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "new"})")),
            "syscalls[0].excludes.minKernel: 'new' is no version: write it as \"4.8\"");
  EXPECT_EQ(ErrorOf(Row(R"("action": "SCMP_ACT_ERRNO", "errnoRet": 5000)")),
            "syscalls[0].errnoRet: 5000 is more than 4095");
}

TEST(SeccompJsonTest, ANumberThatNothingHoldsIsRefused) {
  EXPECT_EQ(ParseSeccompJson(R"({"defaultErrnoRet": 7e424})").error().what,
            "a number is larger than any that JSON is read with here");
}

TEST(SeccompJsonTest, DeepNestingIsNoDanger) {
  const std::string deep(500'000, '[');

  EXPECT_FALSE(ErrorOf(deep).empty());
  EXPECT_FALSE(ErrorOf(std::string(2 << 20, ' ')).empty());
}

}  // namespace
}  // namespace hmvm
