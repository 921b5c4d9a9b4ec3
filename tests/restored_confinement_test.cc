// A copy of a container is held exactly as its origin is: in its guest, and its VMM on the host.
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "security/cell.h"
#include "security/machine_user.h"
#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

struct Kind {
  const char* name;
  std::vector<std::string> options;
  std::vector<std::string> seen;  // words of what its processes see
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

const std::vector<Kind>& Kinds() {
  static const std::vector<Kind> kinds = {
      {"Plain",
       {},
       {"CapEff: 00000000a80425fb;CapBnd: 00000000a80425fb;", "NoNewPrivs: 0;Seccomp: 2;", "kcore 0",
        "sys read-only", "root writable", "unshare forbidden", "chown allowed"}},
      {"NoRights",
       {"--cap-drop", "all", "--security-opt", "no-new-privileges", "--read-only"},
       {"CapEff: 0000000000000000;CapBnd: 0000000000000000;", "NoNewPrivs: 1;Seccomp: 2;", "kcore 0",
        "sys read-only", "root read-only", "unshare forbidden", "chown forbidden"}},
      {"Strict",
       {"--security-profile", "strict"},
       {"CapEff: 00000000000004e1;CapBnd: 00000000000004e1;", "NoNewPrivs: 1;Seccomp: 2;", "kcore 0",
        "sys read-only", "root read-only", "unshare forbidden", "chown allowed"}},
      {"Privileged",
       {"--privileged"},
       {"CapEff: 000001ffffffffff;CapBnd: 000001ffffffffff;", "NoNewPrivs: 0;Seccomp: 0;", "sys writable",
        "root writable", "unshare allowed", "chown allowed"}}};
  return kinds;
}

// A process's own rights, and what it finds forbidden when it tries.
constexpr char kPortrait[] =
    "grep -E '^(Uid|Gid|Groups|CapInh|CapAmb|CapEff|CapBnd|NoNewPrivs|Seccomp|Seccomp_filters):' "
    "/proc/self/status"
    " | tr '\\t\\n' ' ;'; echo;"
    "echo kcore $(head -c 16 /proc/kcore 2>/dev/null | wc -c);"
    "try() { name=$1; yes=$2; no=$3; shift 3; if \"$@\" 2>/dev/null; then echo $name $yes; else echo $name "
    "$no; fi; };"
    "try sys writable read-only sh -c 'cat /proc/sys/kernel/panic > /proc/sys/kernel/panic';"
    "try root writable read-only touch /probe;"
    "try unshare allowed forbidden unshare -m true;"
    "touch /dev/shm/probe-$$; try chown allowed forbidden chown 1 /dev/shm/probe-$$; rm -f /dev/shm/probe-$$;"
    "grep -E ' (/proc|/sys)' /proc/mounts; ls /dev; cat /sys/fs/cgroup/pids.max";

std::string ReadText(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class RestoredConfinementTest : public GuestTest, public testing::WithParamInterface<Kind> {
 protected:
  void TearDown() override {
    if (sandbox_ == nullptr) return;
    for (const char* id : {"origin", "restored", "again"}) (void)sandbox_->Hmvm({"rm", "-f", id});
    if (!forked_.empty()) (void)sandbox_->Hmvm({"rm", "-f", forked_});
    (void)sandbox_->Hmvm({"snapshot", "rm", "kept", "diff"});
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
  }

  static json Inspect(const std::string& container) {
    return json::parse(sandbox_->MustHmvm({"inspect", container}))[0];
  }
  // By the first process, which draws itself again and again, anew from now on.
  static std::string FirstProcess(const std::string& container) {
    sandbox_->MustHmvm({"exec", container, "rm", "-f", "/dev/shm/portrait"});
    std::string portrait;
    EXPECT_TRUE(WaitUntil([&] {
      const Outcome outcome = sandbox_->Hmvm({"exec", container, "cat", "/dev/shm/portrait"});
      portrait = outcome.out;
      return outcome.exit_code == 0;
    }));
    return portrait;
  }
  static std::string FurtherProcess(const std::string& container) {
    return sandbox_->MustHmvm({"exec", container, "sh", "-c", kPortrait}) + "\n";
  }

  // What the host's kernel says of a VMM, without what is its own: ids and names.
  static std::string Vmm(const std::string& container) {
    const fs::path folder = "/proc/" + std::to_string(Inspect(container)["vmm_pid"].get<pid_t>());
    std::set<std::string> threads;
    for (const fs::directory_entry& task : fs::directory_iterator(folder / "task")) {
      std::istringstream lines(ReadText(task.path() / "status"));
      std::string thread;
      for (std::string line; std::getline(lines, line);) {
        for (const char* key : {"Name:", "Cap", "NoNewPrivs:", "Seccomp", "Groups:"}) {
          if (line.starts_with(key)) thread += line + ";";
        }
      }
      threads.insert(thread);
    }
    std::string text;
    for (const std::string& thread : threads) text += thread + "\n";
    std::istringstream limits(ReadText(folder / "limits"));
    for (std::string line; std::getline(limits, line);) text += line + "\n";
    text += std::string(fs::is_empty(folder / "root") ? "empty" : "full") + " root\n";
    for (const char* name : {"mnt", "pid", "net", "ipc", "uts", "user"}) {
      const bool shared =
          fs::read_symlink(folder / "ns" / name) == fs::read_symlink(fs::path("/proc/self/ns") / name);
      text += std::string(name) + (shared ? " shared\n" : " its own\n");
    }
    return text;
  }
  static std::string Line(const std::string& container, const std::string& key) {
    std::istringstream lines(
        ReadText("/proc/" + std::to_string(Inspect(container)["vmm_pid"].get<pid_t>()) + "/status"));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(key)) return line;
    }
    return "";
  }

  std::string forked_;
};

TEST_P(RestoredConfinementTest, CopiesAreHeldAsTheirOriginIs) {
  std::vector<std::string> run = {"run", "-d", "--name", "origin", "--require-guard"};
  run.insert(run.end(), GetParam().options.begin(), GetParam().options.end());
  const std::string loop = "while :; do if ! test -e /dev/shm/portrait; then { " + std::string(kPortrait) +
                           "; } > /dev/shm/next; mv /dev/shm/next /dev/shm/portrait; fi; sleep 0.05; done";
  run.insert(run.end(), {"busybox", "sh", "-c", loop});
  const Outcome started = sandbox_->Hmvm(run);
  if (started.err.find("--require-guard") != std::string::npos) GTEST_SKIP() << started.err;
  ASSERT_EQ(started.exit_code, 0) << Describe(started);
  const std::string inside = FurtherProcess("origin");
  for (const std::string& words : GetParam().seen) EXPECT_THAT(inside, HasSubstr(words));
  EXPECT_EQ(FirstProcess("origin"), inside);

  sandbox_->MustHmvm({"snapshot", "create", "origin", "kept"});
  sandbox_->MustHmvm({"restore", "--name", "restored", "kept"});
  forked_ = sandbox_->MustHmvm({"fork", "restored"});
  sandbox_->MustHmvm({"snapshot", "create", "--diff-of", "kept", "restored", "diff"});
  sandbox_->MustHmvm({"restore", "--name", "again", "diff"});

  const std::string outside = Vmm("origin");
  const json security = Inspect("origin")["security"];
  std::set<std::string> users;
  for (const std::string& container :
       {std::string("origin"), std::string("restored"), forked_, std::string("again")}) {
    EXPECT_EQ(FirstProcess(container), inside) << container;
    EXPECT_EQ(FurtherProcess(container), inside) << container;
    EXPECT_EQ(Vmm(container), outside) << container;
    const json inspected = Inspect(container);
    EXPECT_EQ(inspected["security"], security) << container;
    ASSERT_TRUE(inspected["guard"].is_object()) << container;
    EXPECT_EQ(inspected["guard"]["container"], inspected["id"]);
    EXPECT_EQ(inspected["guard"]["state"], "sealed") << container;
    EXPECT_EQ(inspected["guard"]["breaches"], 0) << container;
    EXPECT_EQ(inspected["guard"]["layers"], Inspect("origin")["guard"]["layers"]) << container;
    EXPECT_GT(inspected["guard"]["calls"]["ioctl"], 0) << container;
    users.insert(Line(container, "Uid:"));
  }
  EXPECT_EQ(users.size(), 4u) << "no two are of one user";
  if (WhyNoJail().empty()) {
    EXPECT_THAT(outside, AllOf(HasSubstr("CapEff:\t0000000000000000;CapBnd:\t0000000000000000;"),
                               HasSubstr("NoNewPrivs:\t1;Seccomp:\t2;"), Not(HasSubstr("Seccomp:\t0")),
                               HasSubstr("empty root"), Not(HasSubstr("shared"))));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, RestoredConfinementTest, testing::ValuesIn(Kinds()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace hmvm::test
