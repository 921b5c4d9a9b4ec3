#include "base/device_rules.h"

#include <array>
#include <cstddef>

#include <gtest/gtest.h>

namespace hmvm {
namespace {

// What the kernel's interpreter does with the few instructions there are in such a program; -1 for others,
// and for a program without an end.
int64_t Run(const std::vector<bpf_insn>& program, uint32_t access_type, uint32_t major, uint32_t minor) {
  const std::array<uint32_t, 3> context = {access_type, major, minor};
  std::array<uint64_t, 11> registers = {};
  for (size_t at = 0; at < program.size(); ++at) {
    const bpf_insn& instruction = program[at];
    uint64_t& to = registers.at(instruction.dst_reg);
    const auto number = static_cast<uint32_t>(instruction.imm);
    switch (instruction.code) {
      case BPF_LDX | BPF_MEM | BPF_W:
        to = context.at(static_cast<size_t>(instruction.off) / 4);
        break;
      case BPF_ALU64 | BPF_MOV | BPF_K:
        to = static_cast<uint64_t>(int64_t{instruction.imm});
        break;
      case BPF_ALU | BPF_MOV | BPF_X:
        to = static_cast<uint32_t>(registers.at(instruction.src_reg));
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        to = static_cast<uint32_t>(to) & number;
        break;
      case BPF_ALU | BPF_RSH | BPF_K:
        to = static_cast<uint32_t>(to) >> number;
        break;
      case BPF_JMP | BPF_JNE | BPF_K:
        if (to != static_cast<uint64_t>(int64_t{instruction.imm})) at += static_cast<size_t>(instruction.off);
        break;
      case BPF_JMP | BPF_EXIT:
        return static_cast<int64_t>(registers[BPF_REG_0]);
      default:
        return -1;
    }
  }
  return -1;
}

constexpr uint32_t kChar = BPF_DEVCG_DEV_CHAR, kBlock = BPF_DEVCG_DEV_BLOCK;
constexpr uint32_t kMake = BPF_DEVCG_ACC_MKNOD, kRead = BPF_DEVCG_ACC_READ, kWrite = BPF_DEVCG_ACC_WRITE;

int64_t Ask(std::span<const DeviceRule> rules, uint32_t type, uint32_t access, uint32_t major,
            uint32_t minor) {
  return Run(MakeDeviceProgram(rules), access << 16 | type, major, minor);
}

TEST(DeviceRulesTest, WithoutRulesNothingIsAllowed) {
  EXPECT_EQ(Ask({}, kChar, kRead, 1, 3), 0);
  EXPECT_EQ(Ask({}, kBlock, kMake, 254, 0), 0);
}

TEST(DeviceRulesTest, ADeviceIsMeantByTypeMajorAndMinor) {
  const DeviceRule rules[] = {kNullDevice};

  EXPECT_EQ(Ask(rules, kChar, kRead | kWrite, 1, 3), 1);
  EXPECT_EQ(Ask(rules, kChar, kMake, 1, 3), 1);
  EXPECT_EQ(Ask(rules, kBlock, kRead, 1, 3), 0);
  EXPECT_EQ(Ask(rules, kChar, kRead, 2, 3), 0);
  EXPECT_EQ(Ask(rules, kChar, kRead, 1, 4), 0);
}

TEST(DeviceRulesTest, AllOfTheAccessMustBeAllowed) {
  const DeviceRule rules[] = {{.type = kBlock, .major = 8, .minor = 1, .access = kRead | kMake}};

  EXPECT_EQ(Ask(rules, kBlock, kRead, 8, 1), 1);
  EXPECT_EQ(Ask(rules, kBlock, kMake, 8, 1), 1);
  EXPECT_EQ(Ask(rules, kBlock, kWrite, 8, 1), 0);
  EXPECT_EQ(Ask(rules, kBlock, kRead | kWrite, 8, 1), 0);
}

TEST(DeviceRulesTest, WhatIsLeftOpenIsAny) {
  const DeviceRule rules[] = {{.major = 136}, {.type = kBlock, .access = kMake}};

  EXPECT_EQ(Ask(rules, kChar, kRead, 136, 17), 1);
  EXPECT_EQ(Ask(rules, kChar, kMake, 5, 1), 0);
  EXPECT_EQ(Ask(rules, kBlock, kMake, 254, 0), 1);
  EXPECT_EQ(Ask(rules, kBlock, kRead, 254, 0), 0);
}

TEST(DeviceRulesTest, EachRuleIsTried) {
  const DeviceRule rules[] = {
      {.major = 1, .minor = 3, .access = kRead}, {.major = 1, .minor = 5}, kNullDevice};

  EXPECT_EQ(Ask(rules, kChar, kWrite, 1, 3), 1);
  EXPECT_EQ(Ask(rules, kChar, kWrite, 1, 5), 1);
  EXPECT_EQ(Ask(rules, kChar, kWrite, 1, 7), 0);
}

// major 0xfff and minor 0xfffff are the most that the kernel has.
TEST(DeviceRulesTest, GreatNumbersStayThemselves) {
  const DeviceRule rules[] = {{.major = 0xfff, .minor = 0xfffff}};

  EXPECT_EQ(Ask(rules, kChar, kRead, 0xfff, 0xfffff), 1);
  EXPECT_EQ(Ask(rules, kChar, kRead, 0xfff, 0xffffe), 0);
}

}  // namespace
}  // namespace hmvm
