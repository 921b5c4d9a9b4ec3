// Wrong input ends in one clear sentence that names the thing, with the right exit code, and nothing left
// behind.
#include <sys/mount.h>
#include <sys/sysinfo.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace fs = std::filesystem;
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class BadInputTest : public GuestTest {
 protected:
  // One line on standard error, with all of `words` in it.
  static void ExpectRefused(const Outcome& outcome, int exit_code, const std::vector<std::string>& words) {
    EXPECT_EQ(outcome.exit_code, exit_code) << Describe(outcome);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    for (const std::string& word : words) EXPECT_THAT(outcome.err, HasSubstr(word));
    EXPECT_THAT(sandbox_->Leftovers(), IsEmpty());
    EXPECT_EQ(sandbox_->MustHmvm({"ps", "-a", "-q"}), "");
  }
  static void ExpectNoNewImage() {
    EXPECT_EQ(sandbox_->MustHmvm({"images", "-q"}).find('\n'), std::string::npos) << "more than busybox";
  }

  // A layer that is in the store is not read again: damage to one is met by a store without it.
  static Outcome ImportIntoEmptyStore(const fs::path& layout) {
    const fs::path root = sandbox_->dir() / "empty";
    fs::remove_all(root);
    const std::vector<std::string> hmvm = {HmvmProgram(), "--root", root, "--run-root", sandbox_->run_root()};
    const auto with = [&](std::vector<std::string> arguments) {
      arguments.insert(arguments.begin(), hmvm.begin(), hmvm.end());
      return RunProgram(arguments);
    };
    const Outcome outcome = with({"image", "import", "--name", "bad", layout});
    EXPECT_EQ(with({"images", "-q"}).out, "");
    return outcome;
  }

  // A copy of the busybox layout to damage.
  static fs::path CopyOfLayout(const std::string& name) {
    const fs::path copy = sandbox_->dir() / name;
    fs::remove_all(copy);
    fs::copy(BusyboxLayout(), copy, fs::copy_options::recursive);
    return copy;
  }
  static std::string Text(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // The blob that is the layer: by far the largest.
  static fs::path LayerOf(const fs::path& layout) {
    fs::path largest;
    for (const fs::directory_entry& entry : fs::directory_iterator(layout / "blobs/sha256")) {
      if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
    }
    return largest;
  }
};

TEST_F(BadInputTest, AMissingKernel) {
  ExpectRefused(RunContainer({"--kernel", "/no/such/kernel"}, {"true"}), 125, {"/no/such/kernel"});
}

TEST_F(BadInputTest, ATruncatedKernel) {
  const fs::path kernel = sandbox_->dir() / "short-vmlinux";
  fs::copy_file(GuestKernel(), kernel, fs::copy_options::overwrite_existing);
  fs::resize_file(kernel, 1 << 20);

  ExpectRefused(RunContainer({"--kernel", kernel}, {"true"}), 125, {kernel});
}

TEST_F(BadInputTest, AKernelThatIsNone) {
  ExpectRefused(RunContainer({"--kernel", "/etc/passwd"}, {"true"}), 125, {"/etc/passwd"});
}

TEST_F(BadInputTest, AnImageThatIsNotThere) {
  ExpectRefused(sandbox_->Hmvm({"run", "--rm", "no-such-image", "true"}), 125,
                {"no-such-image", "image import"});
}

TEST_F(BadInputTest, AnImportOfNothing) {
  ExpectRefused(sandbox_->Hmvm({"image", "import", "/no/such/layout"}), 125, {"/no/such/layout"});
  ExpectNoNewImage();
}

TEST_F(BadInputTest, ATruncatedArchive) {
  const fs::path archive = sandbox_->dir() / "image.tar";
  ASSERT_EQ(RunProgram({"tar", "-C", BusyboxLayout(), "-cf", archive, "."}).exit_code, 0);
  fs::resize_file(archive, fs::file_size(archive) / 2);

  ExpectRefused(sandbox_->Hmvm({"image", "import", "--name", "bad", archive}), 125, {archive});
  ExpectNoNewImage();
}

TEST_F(BadInputTest, ALayerThatIsCutShort) {
  const fs::path layout = CopyOfLayout("short-layer");
  fs::resize_file(LayerOf(layout), fs::file_size(LayerOf(layout)) / 2);

  ExpectRefused(ImportIntoEmptyStore(layout), 125, {LayerOf(layout).filename()});
}

TEST_F(BadInputTest, ALayerWithAWrongDigest) {
  const fs::path layout = CopyOfLayout("wrong-digest");
  const fs::path layer = LayerOf(layout);
  std::string bytes = Text(layer);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(layer, std::ios::binary) << bytes;

  ExpectRefused(ImportIntoEmptyStore(layout), 125, {"digest", layer.filename()});
}

TEST_F(BadInputTest, ALayerOfAnUnknownMediaType) {
  const fs::path layout = CopyOfLayout("media-type");
  // The manifest changes, and with it its digest and size in the index: all of it is right but the media
  // type.
  const std::string index = Text(layout / "index.json");
  std::smatch digest;
  ASSERT_TRUE(std::regex_search(index, digest, std::regex("sha256:([0-9a-f]{64})")));
  const fs::path manifest = layout / "blobs/sha256" / digest[1].str();
  const std::string changed =
      std::regex_replace(Text(manifest), std::regex("application/vnd.oci.image.layer.v1.tar[+a-z]*"),
                         "application/vnd.example.layer");
  const std::string changed_digest = RunProgram({"sha256sum"}, changed).out.substr(0, 64);
  std::ofstream(layout / "blobs/sha256" / changed_digest, std::ios::binary) << changed;
  std::string changed_index = std::regex_replace(index, std::regex(digest[1].str()), changed_digest);
  changed_index = std::regex_replace(changed_index, std::regex("\"size\": ?[0-9]+"),
                                     "\"size\":" + std::to_string(changed.size()));
  std::ofstream(layout / "index.json") << changed_index;

  ExpectRefused(sandbox_->Hmvm({"image", "import", "--name", "bad", layout}), 125,
                {"application/vnd.example.layer"});
  ExpectNoNewImage();
}

TEST_F(BadInputTest, TooLittleMemory) {
  ExpectRefused(RunContainer({"-m", "4m"}, {"true"}), 125, {"memory", "4"});
}

TEST_F(BadInputTest, MoreMemoryThanTheHostHas) {
  struct sysinfo host;
  ASSERT_EQ(::sysinfo(&host), 0);
  const std::string size = std::to_string((host.totalram * host.mem_unit >> 30) + 16) + "g";

  ExpectRefused(RunContainer({"-m", size}, {"true"}), 125, {"memory"});
}

TEST_F(BadInputTest, AMemorySizeThatIsNone) {
  ExpectRefused(RunContainer({"-m", "lots"}, {"true"}), 125, {"lots"});
}

TEST_F(BadInputTest, NoProcessors) {
  ExpectRefused(RunContainer({"--cpus", "0"}, {"true"}), 125, {"cpu", "0"});
}

TEST_F(BadInputTest, AThousandProcessors) {
  ExpectRefused(RunContainer({"--cpus", "1000"}, {"true"}), 125, {"cpu", "1000"});
}

// A file system without room below hmvm's folders.
class FullDiskTest : public BadInputTest {
 protected:
  void SetUp() override {
    BadInputTest::SetUp();
    if (IsSkipped()) return;
    disk_ = sandbox_->dir() / "disk";
    fs::create_directory(disk_);
    ASSERT_EQ(::mount("tmpfs", disk_.c_str(), "tmpfs", 0, "size=64k,nr_inodes=64"), 0);
  }
  void TearDown() override {
    if (!disk_.empty()) ::umount2(disk_.c_str(), MNT_DETACH);
  }
  Outcome OnFullDisk(const std::vector<std::string>& arguments) const {
    std::vector<std::string> command = {HmvmProgram(), "--root", disk_ / "root", "--run-root", disk_ / "run"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return RunProgram(command);
  }
  fs::path disk_;
};

TEST_F(FullDiskTest, AnImportSaysSoAndLeavesNothing) {
  const Outcome outcome = OnFullDisk({"image", "import", "--name", "busybox", BusyboxLayout()});

  EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("No space left on device"));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  uintmax_t bytes = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(disk_)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  EXPECT_LE(bytes, 4096u) << "of a failed import";
}

TEST_F(FullDiskTest, ARunSaysSoAndLeavesNothing) {
  fs::create_directory(disk_ / "root");
  fs::create_directory_symlink(sandbox_->root() / "images", disk_ / "root/images");
  std::ofstream(disk_ / "fill") << std::string(1 << 20, 'x');  // as far as it goes

  const Outcome outcome = OnFullDisk({"run", "--rm", "busybox", "true"});

  EXPECT_EQ(outcome.exit_code, 125) << Describe(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("No space left on device"));
  EXPECT_THAT(FindProcesses("hmvm"), IsEmpty());
}

TEST_F(BadInputTest, NoPermissionOnKvm) {
  fs::create_directory(sandbox_->dir() / "nobody");
  ASSERT_EQ(RunProgram({"chown", "65534:65534", sandbox_->dir() / "nobody"}).exit_code, 0);
  ASSERT_EQ(RunProgram({"chmod", "0755", sandbox_->dir()}).exit_code, 0);
  fs::copy(sandbox_->root() / "images", sandbox_->dir() / "nobody/images", fs::copy_options::recursive);
  ASSERT_EQ(RunProgram({"chown", "-R", "65534:65534", sandbox_->dir() / "nobody"}).exit_code, 0);
  // The build tree may lie where nobody may go: programs and guest are copied to where they may.
  const fs::path copy = sandbox_->dir() / "installed";
  for (const char* part : {"bin", "libexec", "share"}) {
    ASSERT_EQ(
        RunProgram({"sh", "-c", "mkdir -p \"$1\" && cp -rL \"$2\" \"$1\"", "sh", copy, BuildDir() / part})
            .exit_code,
        0);
  }
  ASSERT_EQ(RunProgram({"chmod", "-R", "a+rX", copy}).exit_code, 0);

  const Outcome outcome = RunProgram({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                      copy / "bin/hmvm", "--root", sandbox_->dir() / "nobody", "--run-root",
                                      sandbox_->dir() / "nobody/run", "run", "--rm", "busybox", "true"});

  ExpectRefused(outcome, 125, {"/dev/kvm", "ermission"});
}

}  // namespace
}  // namespace hmvm::test
