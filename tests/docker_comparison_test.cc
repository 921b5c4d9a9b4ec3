// What a process may do under hmvm and under runc with docker's defaults, seen by the same program: every
// difference is in a list, with its reason.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <sstream>

#include "security/container/seccomp_profile.h"
#include "tests/support/container_fixture.h"
#include "tests/support/docker_bundle.h"

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;

constexpr char kRunc[] = "/usr/sbin/runc";

using Facts = std::map<std::string, std::string>;

struct Difference {
  const char* object;  // regular expressions for the whole
  const char* hmvm;
  const char* docker;
  const char* why;
};

constexpr char kAbsent[] = "absent";

// What only one of the two kernels has may be there as long as it is closed: read at most on our side.
constexpr char kClosed[] = "null|empty|folder|special|read:[A-Za-z]+ write:(EROFS|EACCES|EPERM)";

constexpr Difference kAllowed[] = {
    {"limit nofile", "1024:524288", ".*",
     "ours is docker's; runc's bundle leaves this host's, which may be less"},
    {"limit (nproc|sigpending)", "[0-9]+:[0-9]+", ".*", "each kernel makes its own of its memory's size"},
    {"mount /", "overlay relatime rw", ".*", "the bundle is a folder, without layers"},
    {"mount /etc/(hostname|hosts)", "rootfs rw", ".*", "the same files, from another file system"},
    {"mount /etc/machine-id", "rootfs rw", kAbsent, "each guest is a machine of its own"},
    {"mount /etc/resolv\\.conf", kAbsent, ".*", "comes with the network"},
    {"mount /sys/fs/cgroup.*", ".*nodev noexec nosuid relatime ro|absent", ".*",
     "the host may have version 1"},
    {"mount /(proc|sys)/.*", kAbsent, "tmpfs .*ro", "this kernel has nothing there that is to be hidden"},
    {"node /dev/core", "-> /proc/kcore", kAbsent, "runc makes it only where there is a kcore"},
    {"device net/tun (read|write)", "EPERM", ".*", "runc 1.1 allows it; runc 1.2 no longer does"},
    {"device others that can be opened", "", "( 10:200)?", "tun, as above"},
    {"path /(proc|sys)/.*", kAbsent, ".*", "this kernel does not have it"},
    {"path /(proc|sys)/.*", kClosed, kAbsent, "the host's kernel does not have it"},
    {"path /(proc|sys)/.*", "empty", "folder", "this kernel has fewer files there"},
    {"path /proc/sys/.*", "read:[A-Za-z]+ write:EROFS", "read:[A-Za-z]+ write:EACCES",
     "the host's kernel keeps it from namespaces; it is read-only on both"},
    {"call socket .*", "EPERM|EAFNOSUPPORT|EPROTONOSUPPORT", "EAFNOSUPPORT|EPROTONOSUPPORT",
     "the host's kernel has no such sockets"},
};

Facts ReadFacts(const std::string& text) {
  Facts facts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t tab = line.find('\t');
    if (tab != std::string::npos) facts[line.substr(0, tab)] = line.substr(tab + 1);
  }
  return facts;
}

std::string Find(const Facts& facts, const std::string& object) {
  const auto found = facts.find(object);
  return found == facts.end() ? kAbsent : found->second;
}

class DockerComparisonTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    if (!fs::exists(kRunc)) GTEST_SKIP() << "runc is not installed";
    std::ifstream file(BuildDir() / "tests/confinement_check", std::ios::binary);
    program_.assign(std::istreambuf_iterator<char>(file), {});
  }

  // Both take the program from their standard input.
  const std::vector<std::string> command_ = {"sh", "-c", "cat > /bin/check && chmod 755 /bin/check && check"};
  std::string program_;
};

TEST_F(DockerComparisonTest, EachDifferenceIsAllowedWithAReason) {
  const Outcome ours = RunContainer({"-i", "--hostname", "box"}, command_, program_);
  const fs::path bundle = sandbox_->dir() / "bundle";
  MakeDockerBundle(bundle, BusyboxLayout(), command_, DefaultSeccomp());
  const std::string id = sandbox_->dir().filename();
  const Outcome theirs =
      RunProgram({kRunc, "--root", sandbox_->dir() / "runc", "run", "--bundle", bundle, id}, program_);
  ASSERT_EQ(ours.exit_code, 0) << Describe(ours);
  ASSERT_EQ(theirs.exit_code, 0) << Describe(theirs);

  const Facts hmvm = ReadFacts(ours.out), docker = ReadFacts(theirs.out);
  Facts all = hmvm;
  all.insert(docker.begin(), docker.end());
  EXPECT_GT(all.size(), 500u);
  for (const char* refused : {"device kmsg read", "device vda read", "call bpf", "call mount, tmpfs"}) {
    EXPECT_EQ(Find(hmvm, refused), "EPERM") << refused;
  }
  for (const auto& [object, any] : all) {
    const std::string here = Find(hmvm, object), there = Find(docker, object);
    if (here == there) continue;
    const auto allowed = std::ranges::find_if(kAllowed, [&](const Difference& difference) {
      return std::regex_match(object, std::regex(difference.object)) &&
             std::regex_match(here, std::regex(difference.hmvm)) &&
             std::regex_match(there, std::regex(difference.docker));
    });
    EXPECT_NE(allowed, std::end(kAllowed)) << object << "\n  hmvm:   " << here << "\n  docker: " << there;
  }
}

}  // namespace
}  // namespace hmvm::test
