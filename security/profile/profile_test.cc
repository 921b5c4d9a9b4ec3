#include "security/profile/profile.h"

#include <linux/capability.h>
#include <sys/syscall.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/capabilities.h"
#include "security/profile/yaml_tree.h"

namespace hmvm {
namespace {

using testing::StartsWith;

std::string ErrorOf(const std::string& text) {
  const auto profile = ParseSecurityProfile("p.yaml", text);
  return profile.has_value() ? "" : profile.error().what;
}

SecurityProfile MustParse(const std::string& text) {
  auto profile = ParseSecurityProfile("p.yaml", text);
  EXPECT_TRUE(profile.has_value()) << profile.error().what;
  return profile.value_or(SecurityProfile());
}

constexpr char kFull[] = R"(version: 1
base: strict
on_breach: audit
vmm:
  syscalls:
    - getcpu
    - name: ioctl
      args:
        - {index: 1, equal: 0xae80}
        - {index: 2, mask: 0x10, equal: 0}
container:
  capabilities: [kill, CAP_CHOWN]
  seccomp: default
  no_new_privileges: false
devices: [/dev/fuse]
network:
  default: deny
  rules:
    - {allow: out, protocol: tcp, peer: 10.0.0.0/8, ports: [443, 8000-8999]}
    - deny: in
      peer: fd00::/8
resources:
  cpus: 1.5
  memory: 1g
  pids: 100
  vmm_memory: 96m
)";

TEST(SecurityProfileTest, AFileIsItsBaseWithWhatItSays) {
  const SecurityProfile profile = MustParse(kFull);

  EXPECT_EQ(profile.vmm.on_breach, OnBreach::kAudit);
  ASSERT_EQ(profile.vmm.extra_syscalls.size(), 2u);
  EXPECT_EQ(profile.vmm.extra_syscalls[0], (VmmSyscall{"getcpu", SYS_getcpu}));
  EXPECT_EQ(profile.vmm.extra_syscalls[1],
            (VmmSyscall{"ioctl", SYS_ioctl, {{1, ~uint64_t{0}, 0xae80}, {2, 0x10, 0}}}));
  EXPECT_EQ(profile.container.capabilities, CapabilityBit(CAP_KILL) | CapabilityBit(CAP_CHOWN));
  EXPECT_EQ(profile.container.seccomp, "default");
  EXPECT_FALSE(profile.container.no_new_privileges);
  EXPECT_TRUE(profile.container.read_only) << "strict's";
  EXPECT_EQ(profile.devices, std::vector<std::string>{"/dev/fuse"});
  EXPECT_FALSE(profile.network.allow);
  ASSERT_EQ(profile.network.rules.size(), 2u);
  EXPECT_EQ(profile.network.rules[0].peer, "10.0.0.0/8");
  EXPECT_EQ(profile.network.rules[0].ports,
            (std::vector<std::pair<uint16_t, uint16_t>>{{443, 443}, {8000, 8999}}));
  EXPECT_FALSE(profile.network.rules[1].allow);
  EXPECT_EQ(profile.resources.cpu_quota_us, 150'000u);
  EXPECT_EQ(profile.resources.memory_bytes, 1u << 30);
  EXPECT_EQ(profile.resources.pids, 100u);
  EXPECT_EQ(profile.resources.vmm_memory_bytes, 96u << 20);
}

TEST(SecurityProfileTest, TheNormalFormMeansTheSame) {
  const SecurityProfile profiles[] = {MustParse(kFull), *BuiltInProfile("default"),
                                      *BuiltInProfile("strict")};
  for (const SecurityProfile& profile : profiles) {
    const std::string text = FormatSecurityProfile(profile);

    EXPECT_EQ(MustParse(text), profile) << text;
    EXPECT_EQ(FormatSecurityProfile(MustParse(text)), text);
  }
}

TEST(SecurityProfileTest, StrictGivesLessThanTheDefault) {
  const SecurityProfile strict = *BuiltInProfile("strict");

  EXPECT_EQ(strict.container.capabilities & ~DefaultCapabilities(), 0u);
  EXPECT_LT(strict.container.capabilities, DefaultCapabilities());
  EXPECT_TRUE(strict.container.no_new_privileges && strict.container.read_only);
  EXPECT_NE(strict.resources.pids, 0u);
}

struct Wrong {
  const char* text;
  const char* error;
};

class WrongProfileTest : public testing::TestWithParam<Wrong> {};

TEST_P(WrongProfileTest, IsRefusedWithItsPlace) { EXPECT_EQ(ErrorOf(GetParam().text), GetParam().error); }

INSTANTIATE_TEST_SUITE_P(
    Structure, WrongProfileTest,
    testing::Values(Wrong{"", "p.yaml:1:1: a profile is a map of keys; it begins with 'version: 1'"},
                    Wrong{"- 1", "p.yaml:1:1: a profile is a map of keys; it begins with 'version: 1'"},
                    Wrong{"base: strict", "p.yaml:1:1: 'version: 1' is missing"},
                    Wrong{"version: 2", "p.yaml:1:10: version '2': this hmvm knows version 1 only"},
                    Wrong{"version: 1\ncontainr: {}",
                          "p.yaml:2:1: unknown key 'containr'; did you mean 'container'?"},
                    Wrong{"version: 1\nvmm:", "p.yaml:2:1: 'vmm' has no value"},
                    Wrong{"version: 1\nvmm: 5", "p.yaml:2:6: not a map of keys"},
                    Wrong{"version: 1\nversion: 1", "p.yaml:2:1: 'version' is there twice, first in line 1"},
                    Wrong{"version: 1\nvmm: {a: [}", "p.yaml:2:11: illegal flow end"},
                    Wrong{"version: 1\n---\nversion: 1", "p.yaml:3:1: a second document begins"},
                    Wrong{"version: 1\nbase: &a strict", "p.yaml:2:7: anchors are not taken: write it out"},
                    Wrong{"version: 1\nbase: !!str strict", "p.yaml:2:7: tags are not taken"},
                    Wrong{"version: 1\n? [a]\n: b", "p.yaml:2:3: a key must be a word"},
                    Wrong{"version: 1\nbase: lax", "p.yaml:2:7: 'lax': there are default, strict"},
                    Wrong{"version: 1\non_breach: shout", "p.yaml:2:12: 'shout': there are kill, audit"}));

INSTANTIATE_TEST_SUITE_P(
    Vmm, WrongProfileTest,
    testing::Values(
        Wrong{"version: 1\nvmm:\n  syscalls: getcpu", "p.yaml:3:13: not a list"},
        Wrong{"version: 1\nvmm:\n  syscalls:\n  - getcpuu", "p.yaml:4:5: unknown system call 'getcpuu'"},
        Wrong{"version: 1\nvmm:\n  syscalls:\n  - chown32",
              "p.yaml:4:5: 'chown32' is not a system call of x86-64"},
        Wrong{"version: 1\nvmm:\n  syscalls:\n  - args: []", "p.yaml:4:5: 'name' is missing"},
        Wrong{"version: 1\nvmm:\n  syscalls:\n  - {name: ioctl, args: [{equal: 1}]}",
              "p.yaml:4:26: 'index' is missing: which argument, from 0 to 5"},
        Wrong{"version: 1\nvmm:\n  syscalls:\n  - {name: ioctl, args: [{index: 6, equal: 1}]}",
              "p.yaml:4:34: arguments are counted from 0 to 5"},
        Wrong{"version: 1\nvmm:\n  syscalls:\n  - {name: ioctl, args: [{index: 1}]}",
              "p.yaml:4:26: 'equal' is missing: what the argument is to be"},
        Wrong{"version: 1\nvmm:\n  syscalls:\n  - {name: ioctl, args: [{index: 1, equal: -1}]}",
              "p.yaml:4:44: not a whole number from 0 up"},
        Wrong{"version: 1\nvmm:\n  syscalls:\n  - {name: ioctl, args: [{index: 1, mask: 1, equal: 2}]}",
              "p.yaml:4:26: never true: 'equal' has bits that 'mask' takes away"},
        Wrong{"version: 1\nvmm:\n  syscalls:\n  - {name: ioctl, args: [{index: 1, equal: 1}, {index: 1, "
              "equal: 1}, "
              "{index: 1, equal: 1}, {index: 1, equal: 1}]}",
              "p.yaml:4:92: more than 3 arguments of one call"}));

INSTANTIATE_TEST_SUITE_P(
    ContainerAndDevices, WrongProfileTest,
    testing::Values(
        Wrong{"version: 1\ncontainer:\n  capabilities: [KILL, CHOWM]",
              "p.yaml:3:24: unknown capability 'CHOWM'; did you mean 'CAP_CHOWN'?"},
        Wrong{"version: 1\ncontainer:\n  seccomp: no-such.json",
              "p.yaml:3:12: 'no-such.json': there are default, strict, unconfined, and no such file"},
        Wrong{"version: 1\ncontainer:\n  read_only: 1", "p.yaml:3:14: true or false"},
        Wrong{"version: 1\ncontainer:\n  no_new_privs: true",
              "p.yaml:3:3: unknown key 'no_new_privs'; did you mean 'no_new_privileges'?"},
        Wrong{"version: 1\ndevices: [/etc/passwd]", "p.yaml:2:11: '/etc/passwd' is no path below /dev"},
        Wrong{"version: 1\ndevices: [/dev/../etc/x]", "p.yaml:2:11: '/dev/../etc/x' is no path below /dev"}));

INSTANTIATE_TEST_SUITE_P(
    NetworkAndResources, WrongProfileTest,
    testing::Values(
        Wrong{"version: 1\nnetwork: {default: maybe}", "p.yaml:2:20: 'maybe': there are allow, deny"},
        Wrong{"version: 1\nnetwork:\n  rules:\n  - protocol: tcp",
              "p.yaml:4:5: a rule needs one of 'allow' and 'deny', with 'in' or 'out'"},
        Wrong{"version: 1\nnetwork:\n  rules:\n  - {allow: out, ports: [80]}",
              "p.yaml:4:25: only tcp and udp have ports: say 'protocol: tcp' or 'udp'"},
        Wrong{"version: 1\nnetwork:\n  rules:\n  - {allow: up}", "p.yaml:4:13: 'up': there are in, out"},
        Wrong{"version: 1\nnetwork:\n  rules:\n  - {allow: out, peer: 10.1.0.0/8}",
              "p.yaml:4:24: '10.1.0.0/8' has bits beyond its prefix: which network is meant?"},
        Wrong{"version: 1\nnetwork:\n  rules:\n  - {allow: out, peer: example.org}",
              "p.yaml:4:24: 'example.org' is no address, such as 10.0.0.0/8 or fd00::/8"},
        Wrong{"version: 1\nnetwork:\n  rules:\n  - {allow: out, peer: 10.0.0.0/33}",
              "p.yaml:4:24: '10.0.0.0/33': a prefix is from 0 to 32"},
        Wrong{"version: 1\nnetwork:\n  rules:\n  - {allow: out, protocol: udp, ports: [90-80]}",
              "p.yaml:4:41: '90-80': a port is from 1 to 65535, several are 8000-8999"},
        Wrong{"version: 1\nresources: {cpus: 0}",
              "p.yaml:2:19: '0' is no number of processors, such as 2 or 0.5"},
        Wrong{"version: 1\nresources: {memory: lots}", "p.yaml:2:21: 'lots' is no size, such as 512m or 1g"},
        Wrong{"version: 1\nresources: {pids: 0}", "p.yaml:2:19: a whole number from 1 up"},
        Wrong{"version: 1\nresources: {disk: 1g}", "p.yaml:2:13: unknown key 'disk'"}));

TEST(SecurityProfileTest, LittleThatWouldBeMuchIsRefused) {
  EXPECT_THAT(ErrorOf("version: 1\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]"),
              StartsWith("p.yaml:2:4: anchors are not taken"));
  EXPECT_THAT(ErrorOf("version: 1\nbase: " + std::string(kMaxYamlDepth + 1, '[')), StartsWith("p.yaml:2:"));
  EXPECT_THAT(ErrorOf(std::string(60'000, '[')), StartsWith("p.yaml:1:"));
  EXPECT_THAT(ErrorOf(std::string(kMaxYamlBytes + 1, ' ')), StartsWith("p.yaml: longer than"));
}

}  // namespace
}  // namespace hmvm
