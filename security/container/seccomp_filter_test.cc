#include "security/container/seccomp_filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/capabilities.h"
#include "security/container/capability_options.h"
#include "security/container/testing/run_filter.h"

namespace hmvm {
namespace {

using Compare = ArgumentTest::Compare;

seccomp_data Call(int number, std::initializer_list<uint64_t> arguments = {}) {
  seccomp_data data = {.nr = number, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = 0, .args = {}};
  std::copy(arguments.begin(), arguments.end(), data.args);
  return data;
}

std::vector<sock_filter> MustCompile(const SeccompProfile& profile, uint64_t capabilities = 0) {
  auto filter = CompileSeccomp(profile, capabilities);
  EXPECT_TRUE(filter.has_value()) << filter.error().Message();
  return filter.value_or(std::vector<sock_filter>());
}

TEST(SeccompFilterTest, WhatIsNotNamedGetsTheDefaultAndWhatIsNewerDoesNotExist) {
  const auto filter = MustCompile({.otherwise = FailWith(EPERM), .rows = {{.calls = {1, 5, 200}}}});

  EXPECT_EQ(RunFilter(filter, Call(0)), FailWith(EPERM));
  EXPECT_EQ(RunFilter(filter, Call(1)), SECCOMP_RET_ALLOW);
  EXPECT_EQ(RunFilter(filter, Call(2)), FailWith(EPERM));
  EXPECT_EQ(RunFilter(filter, Call(5)), SECCOMP_RET_ALLOW);
  EXPECT_EQ(RunFilter(filter, Call(200)), SECCOMP_RET_ALLOW);
  EXPECT_EQ(RunFilter(filter, Call(201)), FailWith(ENOSYS));
  EXPECT_EQ(RunFilter(filter, Call(0x40000000 | 1)), FailWith(ENOSYS)) << "x32";
}

TEST(SeccompFilterTest, AListOfWhatIsForbiddenAllowsWhatIsNewer) {
  const auto filter =
      MustCompile({.otherwise = SECCOMP_RET_ALLOW, .rows = {{.calls = {7}, .verdict = FailWith(EPERM)}}});

  EXPECT_EQ(RunFilter(filter, Call(7)), FailWith(EPERM));
  EXPECT_EQ(RunFilter(filter, Call(8)), SECCOMP_RET_ALLOW);
}

TEST(SeccompFilterTest, OtherArchitecturesKill) {
  seccomp_data data = Call(1);
  data.arch = AUDIT_ARCH_I386;

  EXPECT_EQ(RunFilter(MustCompile({.rows = {{.calls = {1}}}}), data), SECCOMP_RET_KILL_PROCESS);
}

TEST(SeccompFilterTest, RowsCountByCapabilities) {
  const SeccompProfile profile = {.rows = {{.calls = {1}, .needs = 6}, {.calls = {2}, .without = 1}}};

  EXPECT_EQ(RunFilter(MustCompile(profile, 6), Call(1)), SECCOMP_RET_ALLOW);
  EXPECT_EQ(RunFilter(MustCompile(profile, 6), Call(2)), SECCOMP_RET_ALLOW);
  EXPECT_NE(RunFilter(MustCompile(profile, 2), Call(1)), SECCOMP_RET_ALLOW);
  EXPECT_NE(RunFilter(MustCompile(profile, 7), Call(2)), SECCOMP_RET_ALLOW);
}

TEST(SeccompFilterTest, TwoAnswersToOneCallAreAnErrorThatNamesIt) {
  const auto filter =
      CompileSeccomp({.rows = {{.calls = {0}}, {.calls = {0}, .verdict = FailWith(EACCES)}}}, 0);

  ASSERT_FALSE(filter.has_value());
  EXPECT_EQ(filter.error().what, "'read' is given two answers: allow and errno 13");
}

TEST(SeccompFilterTest, MoreThanTheKernelTakesIsRefused) {
  SeccompProfile profile;
  for (uint64_t value = 0; value < 2000; ++value) {
    profile.rows.push_back({.calls = {1}, .checks = {{.value = value}}});
  }

  const auto filter = CompileSeccomp(profile, 0);

  ASSERT_FALSE(filter.has_value());
  EXPECT_EQ(filter.error().what, "the filter is longer than the 4096 instructions that the kernel takes");
}

bool Holds(const ArgumentTest& check, uint64_t argument) {
  switch (check.compare) {
    case Compare::kEqual:
      return argument == check.value;
    case Compare::kNotEqual:
      return argument != check.value;
    case Compare::kLess:
      return argument < check.value;
    case Compare::kLessOrEqual:
      return argument <= check.value;
    case Compare::kGreater:
      return argument > check.value;
    case Compare::kGreaterOrEqual:
      return argument >= check.value;
    case Compare::kMaskedEqual:
      return (argument & check.mask) == check.value;
  }
  return false;
}

// Numbers whose halves differ by little: where a comparison in two steps goes wrong.
uint64_t Number(std::mt19937& random) { return uint64_t{random() % 3} << 32 | random() % 3; }

TEST(SeccompFilterTest, ComparisonsAreThoseOf64Bits) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    ArgumentTest first = {.index = static_cast<uint8_t>(random() % 6),
                          .compare = static_cast<Compare>(random() % 7),
                          .value = Number(random),
                          .mask = Number(random)};
    ArgumentTest second = first;
    second.index = static_cast<uint8_t>((first.index + 1) % 6);
    second.compare = static_cast<Compare>(random() % 7);
    const auto filter = MustCompile({.rows = {{.calls = {3}, .checks = {first, second}}}});
    seccomp_data data = Call(3);
    for (auto& argument : data.args) argument = Number(random);

    const bool allowed = RunFilter(filter, data) == SECCOMP_RET_ALLOW;

    ASSERT_EQ(allowed, Holds(first, data.args[first.index]) && Holds(second, data.args[second.index]))
        << static_cast<int>(first.compare) << " " << static_cast<int>(second.compare);
  }
}

// libseccomp as an independent judge: the same profile, compiled by both.
class ByLibseccomp {
 public:
  ByLibseccomp(const SeccompProfile& profile, uint64_t capabilities)
      : context_(::seccomp_init(SCMP_ACT_ERRNO(profile.otherwise & SECCOMP_RET_DATA))) {
    for (const SeccompRow& row : profile.rows) {
      if ((row.needs & ~capabilities) != 0 || (row.without & capabilities) != 0) continue;
      if (row.verdict == profile.otherwise) continue;  // it does not take them
      std::vector<scmp_arg_cmp> checks;
      for (const ArgumentTest& check : row.checks) {
        constexpr scmp_compare kCompares[] = {SCMP_CMP_EQ, SCMP_CMP_NE, SCMP_CMP_LT,       SCMP_CMP_LE,
                                              SCMP_CMP_GT, SCMP_CMP_GE, SCMP_CMP_MASKED_EQ};
        const bool masked = check.compare == Compare::kMaskedEqual;
        checks.push_back({check.index, kCompares[static_cast<int>(check.compare)],
                          masked ? check.mask : check.value, check.value});
      }
      const uint32_t action =
          row.verdict == SECCOMP_RET_ALLOW ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(row.verdict & SECCOMP_RET_DATA);
      for (const int call : row.calls) {
        ::seccomp_rule_add_array(context_, action, call, static_cast<unsigned>(checks.size()), checks.data());
      }
    }
  }
  ~ByLibseccomp() { ::seccomp_release(context_); }
  ByLibseccomp(const ByLibseccomp&) = delete;
  ByLibseccomp& operator=(const ByLibseccomp&) = delete;

  std::vector<sock_filter> Filter() const {
    const int fd = ::memfd_create("filter", MFD_CLOEXEC);
    ::seccomp_export_bpf(context_, fd);
    std::vector<sock_filter> filter(static_cast<size_t>(::lseek(fd, 0, SEEK_END)) / sizeof(sock_filter));
    (void)!::pread(fd, filter.data(), filter.size() * sizeof(sock_filter), 0);
    ::close(fd);
    return filter;
  }

 private:
  scmp_filter_ctx context_;
};

void ExpectTheSame(const SeccompProfile& profile, uint64_t capabilities) {
  const auto ours = MustCompile(profile, capabilities);
  const auto theirs = ByLibseccomp(profile, capabilities).Filter();
  std::mt19937 random(1);
  int last = 0;
  for (const SeccompRow& row : profile.rows) {
    if ((row.needs & ~capabilities) != 0 || (row.without & capabilities) != 0) continue;
    for (const int call : row.calls) last = std::max(last, call);
  }
  ASSERT_GT(last, 400);
  for (int call = 0; call <= last; ++call) {
    for (int round = 0; round < 300; ++round) {
      // Small numbers for kinds and personalities, single bits for flags.
      const uint64_t first = round % 2 == 0 ? random() % 64 : uint64_t{1} << random() % 64 | random() % 2;
      const seccomp_data data = Call(call, {round == 0 ? 0xffffffff : first, Number(random)});
      ASSERT_EQ(RunFilter(ours, data), RunFilter(theirs, data)) << call << " " << data.args[0];
    }
  }
}

TEST(SeccompFilterTest, LibseccompMakesTheSameOfTheDefault) {
  SeccompProfile profile = DefaultSeccomp();
  // It does not know the order of rows: the two kinds of sockets that are forbidden become gaps.
  std::erase_if(profile.rows, [](const SeccompRow& row) { return row.calls == std::vector{41}; });
  for (uint64_t kind = 0; kind < 46; ++kind) {
    if (kind != 38 && kind != 40) profile.rows.push_back({.calls = {41}, .checks = {{.value = kind}}});
  }

  ExpectTheSame(profile, DefaultCapabilities());
  ExpectTheSame(profile, 0);
  ExpectTheSame(profile, AllCapabilities());
}

TEST(SeccompFilterTest, LibseccompMakesTheSameOfStrict) {
  ExpectTheSame(StrictSeccomp(), DefaultCapabilities());
}

// A call's way through the filter: its cost.
TEST(SeccompFilterTest, EveryCallIsDecidedInFewSteps) {
  const auto filter = MustCompile(DefaultSeccomp(), DefaultCapabilities());

  EXPECT_LT(filter.size(), 250u);
}

}  // namespace
}  // namespace hmvm
