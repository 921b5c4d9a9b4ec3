// Snapshots by command: diffs and their chains, files that carry them elsewhere, what is damaged, and what is
// left when somebody is killed in the midst of it.
#include <signal.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <set>
#include <thread>

#include <nlohmann/json.hpp>

#include "tests/support/counting_fixture.h"

namespace hmvm::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class SnapshotCommandTest : public CountingTest {
 protected:
  static fs::path Folder(const std::string& name) { return sandbox_->root() / "snapshots" / name; }
  static std::string File(const std::string& name) { return sandbox_->dir() / name; }
  static nlohmann::json Inspect(const std::string& name) {
    return nlohmann::json::parse(sandbox_->MustHmvm({"snapshot", "inspect", name}));
  }
  static std::string Text(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void ExpectRefused(const std::vector<std::string>& command, const std::vector<std::string>& words) {
    const Outcome outcome = sandbox_->Hmvm(command);
    EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    for (const std::string& word : words) EXPECT_THAT(outcome.err, HasSubstr(word));
  }
  // Whether a restore of it goes on counting from `least` on. The container is removed.
  static void ExpectGoesOn(const std::string& snapshot, int least) {
    const std::string id = sandbox_->MustHmvm({"restore", snapshot});
    EXPECT_GE(Count(id), least) << snapshot;
    EXPECT_TRUE(Counts(id)) << snapshot;
    sandbox_->MustHmvm({"rm", "-f", id});
  }
  // What is in the folder of snapshots, drafts included.
  static std::vector<std::string> InFolder() {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(Folder("")))
      names.push_back(entry.path().filename());
    return names;
  }
};

TEST_F(SnapshotCommandTest, ADiffGoesOnWithoutItsParents) {
  sandbox_->MustHmvm({"snapshot", "create", "origin", "full"});
  ASSERT_TRUE(Counts("origin"));
  sandbox_->MustHmvm({"snapshot", "create", "--diff-of", "full", "origin", "first"});
  const std::string copy = sandbox_->MustHmvm({"fork", "origin"});  // is no parent
  ASSERT_TRUE(Counts("origin"));
  const int before = Count("origin");
  sandbox_->MustHmvm({"snapshot", "create", "--diff-of", "first", "origin", "second"});

  const auto inspected = Inspect("second");
  EXPECT_EQ(inspected["chain"], nlohmann::json({"full", "first", "second"}));
  EXPECT_EQ(inspected["machine"]["memory_files"], 3);
  EXPECT_EQ(inspected["machine"]["kernel"], GuestKernel().string());
  EXPECT_LT(fs::file_size(Folder("first") / "machine.pb"), fs::file_size(Folder("second") / "machine.pb"));
  EXPECT_THAT(sandbox_->MustHmvm({"snapshot", "ls"}), HasSubstr("DIFF OF"));
  ExpectGoesOn("second", before);
  sandbox_->MustHmvm({"snapshot", "merge", "second", "whole"});
  sandbox_->MustHmvm({"snapshot", "rm", "full", "first"});
  EXPECT_THAT(sandbox_->MustHmvm({"snapshot", "ls"}), HasSubstr("(removed)"));
  ExpectGoesOn("second", before);
  sandbox_->MustHmvm({"snapshot", "rm", "second"});
  EXPECT_EQ(Inspect("whole")["machine"]["memory_files"], 1);
  ExpectGoesOn("whole", before);
  EXPECT_TRUE(Counts(copy));
}

TEST_F(SnapshotCommandTest, ADiffIsSmallAndOfTheLastOneOnly) {
  sandbox_->MustHmvm({"snapshot", "create", "origin", "full"});
  sandbox_->MustHmvm({"snapshot", "create", "--diff-of", "full", "origin", "diff"});
  const auto size = [](const char* name) {
    for (const auto& info :
         nlohmann::json::parse(sandbox_->MustHmvm({"snapshot", "ls", "--format", "json"}))) {
      if (info["name"] == name) return info["disk_bytes"].get<uint64_t>();
    }
    return uint64_t{0};
  };
  EXPECT_LT(size("diff"), size("full") / 2);

  ExpectRefused({"snapshot", "create", "--diff-of", "full", "origin", "other"}, {"origin", "last snapshot"});
  ExpectRefused({"snapshot", "create", "--diff-of", "none", "origin", "other"}, {"no snapshot 'none'"});
  EXPECT_EQ(InFolder().size(), 2u);
  ExpectGoesOn("full", 1);
  ExpectGoesOn("diff", 1);
}

// From copy to copy: each goes on from a diff of what the one before went on from, and nobody takes a full
// one.
TEST_F(SnapshotCommandTest, ARestoredContainersFirstSnapshotMayBeADiffOfWhatItWasRestoredFrom) {
  constexpr size_t kCopies = 3;
  const auto shell = [](const std::string& id, const std::string& line) {
    return sandbox_->MustHmvm({"exec", id, "sh", "-c", line});
  };
  sandbox_->MustHmvm(
      {"exec", "origin", "sh", "-c", "echo whole > /0; head -c 3000000 /dev/urandom > /random"});
  sandbox_->MustHmvm({"snapshot", "create", "origin", "s0"});
  std::string last = "s0", random = shell("origin", "md5sum < /random");
  int count = 0;

  for (size_t i = 1; i <= kCopies; ++i) {
    const std::string id = sandbox_->MustHmvm({"restore", last});
    EXPECT_GE(Count(id), count) << last;
    ASSERT_TRUE(Counts(id)) << last;
    EXPECT_EQ(shell(id, "md5sum < /random"), random) << last;
    const std::string fork = sandbox_->MustHmvm({"fork", id});  // comes between, and is nobody's parent
    random = shell(id, "dd if=/dev/urandom of=/random bs=1000 seek=" + std::to_string(i * 500) +
                           " count=300 conv=notrunc 2>/dev/null; rm /" + std::to_string(i - 1) +
                           "; echo of $$ > /" + std::to_string(i) + "; md5sum < /random");
    count = Count(id);
    last = "s" + std::to_string(i);

    sandbox_->MustHmvm({"snapshot", "create", "--diff-of", "s" + std::to_string(i - 1), id, last});

    EXPECT_TRUE(Counts(id)) << last;
    ExpectRefused({"snapshot", "create", "--diff-of", "s0", fork, "never"}, {"take a full one"});
    sandbox_->MustHmvm({"rm", "-f", id, fork});
  }
  const auto infos = nlohmann::json::parse(sandbox_->MustHmvm({"snapshot", "ls", "--format", "json"}));
  uint64_t full_bytes = 0;
  for (const auto& info : infos) full_bytes = std::max(full_bytes, info["disk_bytes"].get<uint64_t>());
  for (const auto& info : infos) {
    if (info["name"] == "s0") continue;
    EXPECT_LT(info["disk_bytes"].get<uint64_t>(), full_bytes / 2) << info;
  }
  EXPECT_EQ(Inspect(last)["chain"], nlohmann::json({"s0", "s1", "s2", "s3"}));
  sandbox_->MustHmvm({"snapshot", "merge", last, "merged"});
  sandbox_->MustHmvm({"snapshot", "rm", "s0", "s1", "s2"});
  for (const std::string& name : {last, std::string("merged")}) {
    const std::string id = sandbox_->MustHmvm({"restore", name});
    EXPECT_EQ(shell(id, "md5sum < /random; ls /0 /1 /2 2>/dev/null; cat /3 | cut -c 1-2"), random + "\nof")
        << name;
    EXPECT_GE(Count(id), count) << name;
    EXPECT_TRUE(Counts(id)) << name;
    sandbox_->MustHmvm({"rm", "-f", id});
  }
}

TEST_F(SnapshotCommandTest, AFileCarriesASnapshotElsewhere) {
  sandbox_->MustHmvm({"snapshot", "create", "origin", "full"});
  const int before = Count("origin");
  sandbox_->MustHmvm({"snapshot", "create", "--diff-of", "full", "origin", "diff"});
  const std::string file = File("carried.zst");
  sandbox_->MustHmvm({"snapshot", "export", "diff", file});
  const Outcome piped = sandbox_->Hmvm({"snapshot", "export", "diff", "-"});
  const Outcome cut =
      RunProgram({"sh", "-c", "{ \"$@\"; echo ended $? >&2; } | true", "sh", HmvmProgram(), "--root",
                  sandbox_->root(), "--run-root", sandbox_->run_root(), "snapshot", "export", "diff", "-"});
  sandbox_->MustHmvm({"snapshot", "rm", "full", "diff"});

  EXPECT_EQ(cut.err, "hmvm: write 'standard output': Broken pipe\nended 125\n");
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_EQ(piped.out, Text(file));
  EXPECT_EQ(Inspect(file)["container"]["name"], "origin");
  EXPECT_EQ(Inspect(file)["machine"]["kernel"], GuestKernel().string());
  ExpectGoesOn(file, before);  // unpacked as it is touched
  EXPECT_EQ(sandbox_->MustHmvm({"snapshot", "import", file}), "carried");
  EXPECT_EQ(sandbox_->MustHmvm({"snapshot", "import", file, "again"}), "again");
  ExpectRefused({"snapshot", "import", file, "again"}, {"'again' is taken"});
  EXPECT_EQ(Inspect("again")["chain"], nlohmann::json({"again"}));
  ExpectGoesOn("carried", before);
  // And what came from a file can be put into a snapshot again.
  const std::string lazy = sandbox_->MustHmvm({"restore", file});
  sandbox_->MustHmvm({"snapshot", "create", lazy, "of-lazy"});
  ExpectGoesOn("of-lazy", before);
}

// "Seccomp:" of all of the VMM's threads.
std::set<std::string> FiltersOf(pid_t vmm) {
  std::set<std::string> modes;
  for (const fs::directory_entry& thread : fs::directory_iterator("/proc/" + std::to_string(vmm) + "/task")) {
    std::ifstream status(thread.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("Seccomp:")) modes.insert(line.substr(9));
    }
  }
  return modes;
}

// A snapshot of ours is as its origin was. A file may be anybody's.
TEST_F(SnapshotCommandTest, AFileDoesNotSayHowItsMonitorIsHeld) {
  sandbox_->MustHmvm({"run", "-d", "--name", "lax", "--seccomp", "off", "busybox", "sleep", "1000000"});
  sandbox_->MustHmvm({"snapshot", "create", "lax", "ours"});
  const std::string file = File("theirs.zst");
  sandbox_->MustHmvm({"snapshot", "export", "ours", file});
  sandbox_->MustHmvm({"snapshot", "import", file, "imported"});

  for (const auto& [from, filters] :
       {std::pair<std::string, std::set<std::string>>("ours", {"0"}), {file, {"2"}}, {"imported", {"2"}}}) {
    const std::string id = sandbox_->MustHmvm({"restore", from});
    const auto restored = nlohmann::json::parse(sandbox_->MustHmvm({"inspect", id}))[0];
    EXPECT_EQ(FiltersOf(restored["vmm_pid"].get<pid_t>()), filters) << from;
  }
}

TEST_F(SnapshotCommandTest, ASnapshotGoesOnWhereItsKernelsFileIsNot) {
  const fs::path kernel = File("vmlinux-elsewhere");
  fs::copy_file(GuestKernel(), kernel);
  sandbox_->MustHmvm({"run", "-d", "--name", "away", "--no-template", "--kernel", kernel, "busybox", "sh",
                      "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"});
  sandbox_->MustHmvm({"snapshot", "create", "away", "kept"});
  fs::remove(kernel);

  const std::string id = sandbox_->MustHmvm({"restore", "kept"});

  EXPECT_EQ(sandbox_->MustHmvm({"exec", id, "echo", "here"}), "here");
  sandbox_->MustHmvm({"restart", id});  // by the kernel of this host
  EXPECT_EQ(sandbox_->MustHmvm({"exec", id, "echo", "again"}), "again");
}

TEST_F(SnapshotCommandTest, TwentyRestoresAndTwentyForksAreAllDifferent) {
  constexpr size_t kCopies = 20;
  constexpr size_t kLines = 4;  // hostname and /etc/hostname say the same
  // One that draws by itself, too: its own output must be no other's.
  sandbox_->MustHmvm({"run", "-d", "--name", "drawing", "busybox", "sh", "-c",
                      "while :; do head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '; sleep 0.3; done"});
  ASSERT_TRUE(WaitUntil([] { return !sandbox_->Hmvm({"logs", "drawing"}).out.empty(); }));
  sandbox_->MustHmvm({"snapshot", "create", "drawing", "taken"});
  for (const bool fork : {false, true}) {
    std::vector<std::string> ids;
    if (fork) {
      ids = Lines(sandbox_->MustHmvm({"fork", "-n", std::to_string(kCopies), "drawing"}));
    } else {
      for (size_t i = 0; i < kCopies; ++i) ids.push_back(sandbox_->MustHmvm({"restore", "taken"}));
    }
    ids.push_back("drawing");
    std::set<std::string> seen;
    std::multiset<std::string> drawn;
    for (const std::string& id : ids) {
      ASSERT_TRUE(WaitUntil([&] { return Lines(sandbox_->Hmvm({"logs", id}).out).size() > 2; })) << id;
      for (const std::string& line : Lines(Identity(id))) seen.insert(line);
      // A copy's first line may be of what had been drawn when it was made.
      const std::vector<std::string> log = Lines(sandbox_->Hmvm({"logs", id}).out);
      drawn.insert(log.begin() + (id == "drawing" ? 0 : 1), log.end());
    }
    EXPECT_EQ(seen.size(), (kCopies + 1) * kLines) << (fork ? "forks" : "restores");
    EXPECT_EQ(std::set<std::string>(drawn.begin(), drawn.end()).size(), drawn.size());
    ids.pop_back();
    for (const std::string& id : ids) sandbox_->MustHmvm({"rm", "-f", id});
  }
}

// A bit of any of its files: told in one line, or the same container.
TEST_F(SnapshotCommandTest, AFlippedBitIsRefusedOrHarmless) {
  constexpr int kFlips = 200;
  sandbox_->MustHmvm({"snapshot", "create", "origin", "kept"});
  const std::string file = File("flipped.zst");
  sandbox_->MustHmvm({"snapshot", "export", "kept", file});
  const fs::path paths[] = {Folder("kept") / "machine.pb", Folder("kept") / "memory",
                            Folder("kept") / "container.json", file};
  std::mt19937_64 random(1);
  int refused = 0;
  for (int i = 0; i < kFlips; ++i) {
    const fs::path& path = paths[i % 4];
    std::fstream stream(path, std::ios::binary | std::ios::in | std::ios::out);
    const auto place = static_cast<std::streamoff>(random() % fs::file_size(path));
    const auto flip = [&](int bit) {
      stream.seekg(place);
      const auto byte = static_cast<char>(stream.get());
      stream.seekp(place);
      stream.put(static_cast<char>(byte ^ 1 << bit)).flush();
    };
    const int bit = static_cast<int>(random() % 8);
    flip(bit);
    const Outcome restored = sandbox_->Hmvm({"restore", path == file ? file : "kept"});
    flip(bit);
    if (restored.exit_code != 0) {
      ++refused;
      EXPECT_EQ(std::ranges::count(restored.err, '\n'), 1) << path << " " << place << restored.err;
      const std::string name = path == file ? "exported" : path.filename().string();
      EXPECT_THAT(restored.err, testing::AnyOf(HasSubstr(name), HasSubstr(path.string()))) << place;
      EXPECT_EQ(Lines(sandbox_->MustHmvm({"ps", "-aq"})).size(), 1u) << path << " " << place;
      continue;
    }
    // Of a file, what is damaged may be what is unpacked later: then the machine ends, and says why.
    const std::string id = restored.out.substr(0, restored.out.find('\n'));
    if (!Counts(id)) {
      EXPECT_EQ(path, file) << place;
      EXPECT_THAT(sandbox_->MustHmvm({"inspect", id}), HasSubstr("is corrupt")) << place;
      ++refused;
    }
    sandbox_->MustHmvm({"rm", "-f", id});
  }
  EXPECT_GT(refused, kFlips / 2);
  ExpectGoesOn("kept", 1);
  ExpectGoesOn(file, 1);
  EXPECT_TRUE(Counts("origin"));
}

TEST_F(SnapshotCommandTest, WhatIsNoSnapshotIsToldInOneLine) {
  sandbox_->MustHmvm({"snapshot", "create", "origin", "kept"});
  ASSERT_TRUE(Counts("origin"));
  sandbox_->MustHmvm({"snapshot", "create", "origin", "other"});
  const std::string file = File("kept.zst"), bad = File("bad.zst");
  sandbox_->MustHmvm({"snapshot", "export", "kept", file});
  const std::string good = Text(file);
  const auto damaged = [&](const std::string& content, const std::string& words) {
    std::ofstream(bad, std::ios::binary) << content;
    ExpectRefused({"snapshot", "import", bad, "imported"}, {bad, words});
    ExpectRefused({"snapshot", "inspect", bad}, {bad, words});
    ExpectRefused({"restore", bad}, {bad, words});
  };

  for (const size_t part : {1, 2, 3})
    damaged(good.substr(0, good.size() * part / 4), "is no exported snapshot");
  damaged("", "too short");
  damaged("no archive at all, but long enough to look at", "no table at its end");
  std::string late = good;
  late[good.size() / 2] ^= 1;
  std::ofstream(bad, std::ios::binary) << late;
  ExpectRefused({"snapshot", "import", bad, "imported"}, {bad, "is corrupt"});
  ExpectRefused({"snapshot", "import", "/no/such/file"}, {"/no/such/file"});
  ExpectRefused({"restore", "/no/such/file"}, {"/no/such/file"});
  ExpectRefused({"snapshot", "create", "origin", "no/name"}, {"hmvm: name 'no/name' is not allowed"});
  EXPECT_EQ(InFolder().size(), 2u);

  // Another's memory, a part of it, a newer version.
  const auto with = [](const fs::path& path, const std::function<std::string(std::string)>& change,
                       const std::string& words) {
    const std::string before = Text(path);
    std::ofstream(path, std::ios::binary) << change(before);
    ExpectRefused({"restore", "kept"}, {words});
    std::ofstream(path, std::ios::binary) << before;
  };
  with(
      Folder("kept") / "memory", [](const auto&) { return Text(Folder("other") / "memory"); }, "is corrupt");
  with(
      Folder("kept") / "machine.pb", [](const auto&) { return Text(Folder("other") / "machine.pb"); },
      "is corrupt");
  with(
      Folder("kept") / "memory", [](const auto& text) { return text.substr(0, text.size() / 2); }, "memory");
  with(
      Folder("kept") / "machine.pb", [](auto text) { return text.replace(8, 1, "\x63"); },
      "snapshot format 99");
  with(
      Folder("kept") / "container.json", [](auto text) { return text.replace(text.find("2"), 1, "9"); },
      "another version");
  with(
      Folder("kept") / "container.json", [](const auto& text) { return text.substr(0, 100); },
      "container.json");
  ExpectGoesOn("kept", 1);
  EXPECT_TRUE(Counts("origin"));
}

TEST_F(SnapshotCommandTest, AFullDiskIsToldAndTheContainerGoesOn) {
  sandbox_->MustHmvm({"snapshot", "create", "origin", "kept"});
  const std::string file = File("kept.zst");
  sandbox_->MustHmvm({"snapshot", "export", "kept", file});
  sandbox_->MustHmvm({"snapshot", "rm", "kept"});
  const std::string small = File("small");
  fs::create_directory(small);
  ASSERT_EQ(::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=2m"), 0);
  ASSERT_EQ(::mount("tmpfs", Folder("").c_str(), "tmpfs", 0, "size=8m"), 0);

  ExpectRefused({"snapshot", "create", "origin", "full"},
                {Folder("").parent_path(), "No space left on device"});
  EXPECT_THAT(InFolder(), IsEmpty());
  ExpectRefused({"fork", "origin"}, {"No space left on device"});
  ExpectRefused({"snapshot", "import", file}, {"No space left on device"});
  EXPECT_THAT(InFolder(), IsEmpty());
  EXPECT_EQ(::umount(Folder("").c_str()), 0);
  sandbox_->MustHmvm({"snapshot", "create", "origin", "kept"});
  ExpectRefused({"snapshot", "export", "kept", small + "/kept.zst"}, {"kept.zst", "No space left on device"});
  EXPECT_TRUE(fs::is_empty(small));
  EXPECT_EQ(::umount(small.c_str()), 0);
  EXPECT_TRUE(Counts("origin"));
  ExpectGoesOn("kept", 1);
}

// A file on tmpfs is memory of who wrote it, to the kernel, and counts against the limit of the VMM's cgroup.
TEST_F(SnapshotCommandTest, SnapshotsInMemoryDoNotKillTheContainer) {
  constexpr int kSnapshots = 5;  // more than the limit has room for
  sandbox_->MustHmvm({"exec", "origin", "sh", "-c", "head -c 80000000 /dev/urandom > /random"});
  sandbox_->MustHmvm({"snapshot", "create", "origin", "first"});
  sandbox_->MustHmvm({"snapshot", "rm", "first"});
  ASSERT_EQ(::mount("tmpfs", Folder("").c_str(), "tmpfs", 0, "size=1g"), 0);

  for (int i = 0; i < kSnapshots; ++i) {
    const Outcome taken = sandbox_->Hmvm({"snapshot", "create", "origin", "s" + std::to_string(i)});
    EXPECT_EQ(taken.exit_code, 0) << Describe(taken);
  }

  EXPECT_TRUE(Counts("origin"));
  ExpectGoesOn("s0", 1);
  EXPECT_EQ(::umount(Folder("").c_str()), 0);
}

// Somebody is killed at a moment that nobody chose: the command, its tool, or another container's supervisor.
class RandomMomentTest : public SnapshotCommandTest, public testing::WithParamInterface<int> {};
TEST_P(RandomMomentTest, AKillLeavesNothingThatTheNextCommandDoesNotClean) {
  constexpr int kLifetimeMs = 2000;
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  const auto origin = nlohmann::json::parse(sandbox_->MustHmvm({"inspect", "origin"})).at(0);
  const fs::path files = File("files");
  fs::create_directory(files);
  std::string hmvm;
  for (const std::string& word : sandbox_->Command({})) hmvm += word + " ";
  Child commands({"/bin/sh", "-c",
                  "for c in 'snapshot create origin a' 'snapshot create --diff-of a origin b' "
                  "'snapshot export b F/b.zst' 'snapshot import F/b.zst c' 'restore b' 'restore F/b.zst' "
                  "'fork -n 2 origin' 'snapshot merge b d' 'snapshot rm a c'; do " +
                      hmvm + "$(echo \"$c\" | sed \"s|F/|" + files.string() + "/|\"); done"});
  std::this_thread::sleep_for(std::chrono::milliseconds(random() % kLifetimeMs));

  std::vector<pid_t> targets = FindProcesses(HmvmProgram().string());
  for (const pid_t pid : FindProcesses("hmvm-snapshot")) targets.push_back(pid);
  std::erase(targets, commands.pid());
  std::erase(targets, origin["supervisor_pid"].get<pid_t>());
  std::erase(targets, origin["vmm_pid"].get<pid_t>());
  if (!targets.empty()) ::kill(targets[random() % targets.size()], SIGKILL);
  commands.Wait();

  EXPECT_TRUE(Counts("origin")) << "seed " << seed;
  for (const std::string& name : Lines(sandbox_->MustHmvm({"snapshot", "ls", "-q"}))) {
    ExpectGoesOn(name, 1);
    sandbox_->MustHmvm({"snapshot", "rm", name});
  }
  EXPECT_THAT(InFolder(), IsEmpty()) << "seed " << seed;
  for (const fs::directory_entry& entry : fs::directory_iterator(files)) {
    EXPECT_EQ(entry.path().filename(), "b.zst") << "seed " << seed;
    ExpectGoesOn(entry.path(), 1);
  }
  fs::remove_all(files);
}
INSTANTIATE_TEST_SUITE_P(Moments, RandomMomentTest, testing::Range(0, 15));

// The origin itself is killed while its snapshot is written.
TEST_F(SnapshotCommandTest, AnOriginThatIsKilledLeavesNoSnapshot) {
  for (const char* victim : {"supervisor_pid", "vmm_pid"}) {
    const std::string id = sandbox_->MustHmvm({"fork", "origin"});
    const auto inspected = nlohmann::json::parse(sandbox_->MustHmvm({"inspect", id})).at(0);
    Child create(sandbox_->Command({"snapshot", "create", id, "never"}));
    ASSERT_TRUE(WaitUntil([] { return fs::exists(Folder("")) && !InFolder().empty(); }));
    ::kill(inspected[victim].get<pid_t>(), SIGKILL);

    const Outcome outcome = create.Wait();

    EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
    EXPECT_EQ(sandbox_->MustHmvm({"snapshot", "ls", "-q"}), "");
    EXPECT_THAT(InFolder(), IsEmpty());
    sandbox_->MustHmvm({"rm", "-f", id});
  }
}

// A stop does not wait for a snapshot, however long that takes.
TEST_F(SnapshotCommandTest, AStopInTheMidstOfASnapshotIsAnOrderlyEnd) {
  const std::string id = sandbox_->MustHmvm(
      {"run", "-d", "-m", "2g", "busybox", "sh", "-c",
       "trap 'exit 3' TERM; head -c 30000000 /dev/urandom > /part; for i in $(seq 30); do cat /part; done "
       "> /large; echo ready; while :; do sleep 0.02; done"});
  ASSERT_TRUE(WaitUntil([&] { return sandbox_->Hmvm({"logs", id}).out.ends_with("ready\n"); }));
  Child create(sandbox_->Command({"snapshot", "create", id, "never"}));
  ASSERT_TRUE(WaitUntil([] {
    const std::vector<std::string> drafts = fs::exists(Folder("")) ? InFolder() : std::vector<std::string>();
    return !drafts.empty() && fs::exists(Folder(drafts.front()) / "snapshot/memory");
  }));

  sandbox_->MustHmvm({"stop", id});
  const Outcome outcome = create.Wait();

  EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("the container ended meanwhile"));
  EXPECT_EQ(sandbox_->MustHmvm({"wait", id}), "3");
  EXPECT_THAT(InFolder(), IsEmpty());
}

}  // namespace
}  // namespace hmvm::test
