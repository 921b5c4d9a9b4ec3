// What holds for the tree as a whole: the one direction of dependency, the format, and that it names no place
// that only one machine has.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/process.h"

namespace hmvm {
namespace fs = std::filesystem;
namespace {

using testing::IsEmpty;

struct File {
  std::string name;  // from the root of the repository
  std::string text;
};

// All files of the repository: not what git ignores.
const std::vector<File>& Tree() {
  static const std::vector<File> tree = [] {
    std::vector<File> files;
    const fs::path root = HMVM_SOURCE_DIR;
    for (auto entry = fs::recursive_directory_iterator(root); entry != fs::recursive_directory_iterator();
         ++entry) {
      const std::string name = fs::relative(entry->path(), root);
      if (name == ".git" || name == "build" || name == ".cache") entry.disable_recursion_pending();
      if (!entry->is_regular_file() || entry->is_symlink() || name == ".git") continue;
      std::ifstream file(entry->path(), std::ios::binary);
      files.push_back({name, {std::istreambuf_iterator<char>(file), {}}});
    }
    return files;
  }();
  return tree;
}

bool IsCpp(const std::string& name) { return name.ends_with(".cc") || name.ends_with(".h"); }

// `from` may include from `to`; a folder may always include from itself.
struct Arrow {
  const char* from;
  std::vector<std::string> to;
};

// design.md: the house, and the rooms of vmm/. Of the rules that match a file the longest holds.
const Arrow kArrows[] = {
    {"base/", {}},
    {"bpf/", {}},
    {"security/", {"base/", "bpf/"}},
    {"images/", {"base/"}},
    {"guest/", {"base/"}},
    {"vmm/", {"base/", "security/"}},
    {"runtime/", {"base/", "security/", "images/", "vmm/api/", "guest/api/"}},
    {"tests/", {"base/", "security/", "images/", "guest/", "vmm/", "runtime/"}},
    {"bench/", {"base/", "security/", "images/", "guest/", "vmm/", "runtime/", "tests/support/"}},
    {"vmm/api/", {}},
    {"vmm/snapshot/machine_state.pb", {}},  // what the rooms below put into it
    {"vmm/kvm/", {"base/", "security/fd_class", "vmm/memory/", "vmm/snapshot/machine_state.pb"}},
    {"vmm/memory/", {"base/", "security/fd_class"}},
    {"vmm/boot/", {"base/", "vmm/kvm/", "vmm/memory/"}},
    {"vmm/devices/", {"base/", "vmm/memory/", "vmm/snapshot/machine_state.pb"}},
    {"vmm/virtio/",
     {"base/", "security/fd_class", "vmm/api/added_memory", "vmm/devices/", "vmm/memory/",
      "vmm/snapshot/machine_state.pb"}},
    {"vmm/platform/",
     {"base/", "security/fd_class", "vmm/boot/", "vmm/devices/", "vmm/kvm/", "vmm/memory/",
      "vmm/snapshot/machine_state.pb"}},
};

const Arrow* RuleFor(const std::string& name) {
  const Arrow* best = nullptr;
  for (const Arrow& arrow : kArrows) {
    const std::string_view from = arrow.from;
    if (name.starts_with(from) && (best == nullptr || from.size() > std::string_view(best->from).size()))
      best = &arrow;
  }
  return best;
}

TEST(TreeTest, IncludesRunInOneDirection) {
  const std::regex include("#\\s*include \"([^\"]+)\"");
  std::vector<std::string> against;
  for (const File& file : Tree()) {
    const Arrow* rule = RuleFor(file.name);
    if (!IsCpp(file.name) || rule == nullptr) continue;
    for (std::sregex_iterator at(file.text.begin(), file.text.end(), include), end; at != end; ++at) {
      const std::string target = (*at)[1];
      if (RuleFor(target) == nullptr || target.starts_with(rule->from)) continue;
      const bool allowed = std::any_of(rule->to.begin(), rule->to.end(),
                                       [&](const std::string& folder) { return target.starts_with(folder); });
      if (!allowed) against.push_back(file.name + " includes " + target);
    }
  }

  EXPECT_THAT(against, IsEmpty());
}

TEST(TreeTest, ThePlatformsKnowNothingOfEachOther) {
  std::vector<std::string> against;
  for (const File& file : Tree()) {
    const bool crosses = (file.name.starts_with("vmm/platform/ring3/") &&
                          file.text.find("\"vmm/platform/hardware/") != std::string::npos) ||
                         (file.name.starts_with("vmm/platform/hardware/") &&
                          file.text.find("\"vmm/platform/ring3/") != std::string::npos);
    if (crosses) against.push_back(file.name);
  }

  EXPECT_THAT(against, IsEmpty());
}

TEST(TreeTest, NoFileNamesAPlaceThatOnlyOneMachineHas) {
  // Work folders, registries and mirrors: a clone must build from what Debian's own configuration names.
  const std::regex place(
      "(^|[\\s\"'=(])/wor"
      "k/|pypi\\.or"
      "g|pythonhosted\\.or"
      "g|registry\\.npmj"
      "s|(^|[^a-z])crates\\.i"
      "o|"
      "proxy\\.golan"
      "g|rubygems\\.or"
      "g|repo\\.mave"
      "n|registry-1\\.docke"
      "r|deb\\.debia"
      "n\\.org");
  std::vector<std::string> against;
  for (const File& file : Tree()) {
    size_t line = 1;
    for (size_t start = 0; start < file.text.size(); ++line) {
      const size_t end = std::min(file.text.find('\n', start), file.text.size());
      if (end - start < 1000 &&
          std::regex_search(file.text.begin() + start, file.text.begin() + end, place)) {
        against.push_back(file.name + ":" + std::to_string(line));
      }
      start = end + 1;
    }
  }

  EXPECT_THAT(against, IsEmpty());
}

TEST(TreeTest, FilesAreFormatted) {
  const char* const kFormatter = "/usr/bin/clang-format";
  if (!fs::exists(kFormatter)) GTEST_SKIP() << kFormatter << " is missing (package clang-format)";
  std::vector<std::string> command = {kFormatter, "--dry-run", "-Werror"};
  for (const File& file : Tree()) {
    if (IsCpp(file.name) || file.name.ends_with(".bpf.c"))
      command.push_back(std::string(HMVM_SOURCE_DIR) + "/" + file.name);
  }

  const auto result = RunCommand(command);

  ASSERT_TRUE(result.has_value()) << result.error().Message();
  EXPECT_EQ(result->exit_code, 0) << result->output;
}

}  // namespace
}  // namespace hmvm
