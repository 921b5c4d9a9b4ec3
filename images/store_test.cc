#include "images/store.h"

#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/process.h"
#include "images/import.h"
#include "images/scratch.h"
#include "images/sha256.h"
#include "images/test_support.h"

namespace hmvm {
namespace {

using test::Compress;
using test::LayerBlob;
using test::Layout;
using test::Named;
using test::Tar;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

size_t Count(const std::string& directory) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: layers bring owners and device nodes";
    auto store = ImageStore::Open(dir_ / "store");
    ASSERT_TRUE(store.has_value()) << store.error().Message();
    store_.emplace(*std::move(store));
  }

  // Whatever was tried, nothing temporary is left.
  void TearDown() override {
    if (store_.has_value()) {
      EXPECT_EQ(Count(dir_ / "store/tmp"), 0U);
    }
  }

  // A layout of one image with one file, whose content makes it this image and no other.
  std::string MakeImage(const std::string& dir, const std::string& content, const std::string& name = "") {
    Layout layout(dir_ / dir);
    layout.WriteIndex(layout.AddImage({{.bytes = Tar({{.name = "file", .content = content}})}},
                                      R"("Cmd":["sh"])", name.empty() ? "" : Named(name)));
    return layout.dir();
  }
  std::string ImportError(const std::string& path, const std::string& name = "") {
    auto image = store_->Import(path, name);
    return image.has_value() ? "" : image.error().Message();
  }
  Image Import(const std::string& path, const std::string& name = "") {
    auto image = store_->Import(path, name);
    EXPECT_TRUE(image.has_value()) << image.error().Message();
    return image.has_value() ? *image : Image{};
  }
  std::string TarDirectory(const std::string& dir, const std::string& file) {
    EXPECT_EQ(RunCommand({"/usr/bin/tar", "-C", dir, "-caf", dir_ / file, "."})->exit_code, 0);
    return dir_ / file;
  }

  test::TempDir dir_;
  std::optional<ImageStore> store_;
};

TEST_F(StoreTest, AnImportedImageIsFoundByNameAndId) {
  const Image image = Import(MakeImage("a", "one", "team/tool:1"));

  EXPECT_THAT(image.names, ElementsAre("team/tool:1"));
  EXPECT_THAT(image.config.cmd, ElementsAre("sh"));
  EXPECT_EQ(image.architecture, "amd64");
  EXPECT_EQ(image.size_bytes, std::filesystem::file_size(image.rootfs_path));
  EXPECT_EQ(store_->Find("docker.io/team/tool:1")->id, image.id);
  EXPECT_EQ(store_->Find(image.id)->id, image.id);
  EXPECT_EQ(store_->Find(image.id.substr(7, 12))->id, image.id);
  EXPECT_EQ(store_->Find("nothing").error().code, ENOENT);
  EXPECT_FALSE(store_->Find("").has_value());
  EXPECT_FALSE(store_->Find("../../etc/passwd").has_value());
}

TEST_F(StoreTest, ATagOrNoNameTakesTheDirectorysName) {
  EXPECT_THAT(Import(MakeImage("busybox", "one", "latest")).names, ElementsAre("busybox:latest"));
  EXPECT_THAT(Import(MakeImage("other", "two")).names, ElementsAre("other:latest"));
  EXPECT_THAT(Import(MakeImage("third", "three"), "mine").names, ElementsAre("mine:latest"));
  EXPECT_THAT(ImportError(MakeImage("fourth", "four"), "No Name"), HasSubstr("'No Name'"));
}

TEST_F(StoreTest, ANameMovesToTheNewImage) {
  const Image old = Import(MakeImage("a", "one", "x:1"));
  const Image next = Import(MakeImage("b", "two", "x:1"));

  EXPECT_EQ(store_->Find("x:1")->id, next.id);
  EXPECT_THAT(store_->Find(old.id)->names, IsEmpty());
  EXPECT_THAT(*store_->List(), SizeIs(2));
}

TEST_F(StoreTest, AnAmbiguousIdListsTheCandidates) {
  std::vector<Image> images;
  for (int i = 0; i < 17; ++i)
    images.push_back(Import(MakeImage("a" + std::to_string(i), std::to_string(i))));
  std::string error;
  for (char digit : std::string("0123456789abcdef")) {  // 17 ids, 16 digits: two begin alike
    const auto found = store_->Find(std::string(1, digit));
    if (!found.has_value() && found.error().code != ENOENT) error = found.error().Message();
  }

  EXPECT_THAT(error, HasSubstr("ambiguous"));
  EXPECT_THAT(error, HasSubstr(":latest)"));
}

TEST_F(StoreTest, RootfsGoesWithItsLastImage) {
  Layout layout(dir_ / "two");
  const LayerBlob layer{.bytes = Tar({{.name = "f"}})};
  layout.WriteIndex(layout.AddImage({layer}, R"("Cmd":["a"])", Named("a:1")) + "," +
                    layout.AddImage({layer}, R"("Cmd":["b"])", Named("b:1")));
  const Image a = Import(layout.dir(), "a:1");
  const Image b = Import(layout.dir(), "b:1");
  ASSERT_NE(a.id, b.id);
  ASSERT_EQ(a.rootfs_path, b.rootfs_path);
  Import(layout.dir(), "b:1");
  const auto open = OpenFile(a.rootfs_path, O_RDONLY);

  EXPECT_TRUE(store_->Remove("a:1").has_value());
  EXPECT_TRUE(std::filesystem::exists(a.rootfs_path));
  EXPECT_TRUE(store_->Remove(b.id.substr(0, 20)).has_value());
  EXPECT_FALSE(std::filesystem::exists(a.rootfs_path));
  EXPECT_EQ(store_->Remove("a:1").error().code, ENOENT);
  EXPECT_THAT(*store_->List(), IsEmpty());
  char byte = 0;
  EXPECT_EQ(::pread(open->get(), &byte, 1, 1024), 1);  // who has it open keeps it
}

TEST_F(StoreTest, AnImageInUseLosesNamesButTheLast) {
  Layout layout(dir_ / "one");
  layout.WriteIndex(layout.AddImage({{.bytes = Tar({{.name = "f"}})}}));
  const Image image = Import(layout.dir(), "first:1");
  Import(layout.dir(), "second:1");
  const auto in_use = [](const Image&) -> Result<> { return Error{EBUSY, "in use"}; };

  EXPECT_EQ(store_->Remove(image.id, in_use).error().code, EBUSY);
  EXPECT_TRUE(store_->Remove("first:1", in_use).has_value());
  EXPECT_EQ(store_->Remove("second:1", in_use).error().code, EBUSY);
  EXPECT_EQ(store_->Find("second:1").value().id, image.id);
}

TEST_F(StoreTest, SeveralImagesNeedAChoice) {
  Layout layout(dir_ / "many");
  layout.WriteIndex(layout.AddImage({{.bytes = Tar({{.name = "1"}})}}, "", Named("a:1")) + "," +
                    layout.AddImage({{.bytes = Tar({{.name = "2"}})}}, "", Named("b:1")));

  EXPECT_THAT(ImportError(layout.dir()), AllOf(HasSubstr("a:1"), HasSubstr("b:1")));
  EXPECT_EQ(ImportError(layout.dir(), "b:1"), "");
}

TEST_F(StoreTest, AnIndexGivesTheImageForAmd64) {
  Layout layout(dir_ / "index");
  const auto platform = [](const std::string& os, const std::string& architecture,
                           const std::string& more = "") {
    return R"(,"platform":{"os":")" + os + R"(","architecture":")" + architecture + "\"" + more + "}";
  };
  const std::string arm = layout.AddImage({}, "", platform("linux", "arm64"), "arm64");
  const std::string v3 =
      layout.AddImage({}, R"("User":"v3")", platform("linux", "amd64", R"(,"variant":"v3")"));
  const std::string plain = layout.AddImage({}, R"("User":"plain")", platform("linux", "amd64"));
  const std::string note = layout.AddImage({}, "", platform("unknown", "unknown"));
  layout.WriteIndex(
      layout.AddBlob(R"({"schemaVersion":2,"manifests":[)" + arm + "," + v3 + "," + plain + "," + note + "]}",
                     "application/vnd.oci.image.index.v1+json", Named("multi:1")));

  EXPECT_EQ(Import(layout.dir()).config.user, "plain");
  EXPECT_TRUE(store_->Find("multi:1").has_value());
}

TEST_F(StoreTest, AnotherArchitectureIsRefused) {
  Layout layout(dir_ / "arm");
  layout.WriteIndex(layout.AddImage({}, "", "", "arm64"));

  EXPECT_THAT(ImportError(layout.dir()), HasSubstr("linux/arm64"));
}

TEST_F(StoreTest, DamagedBlobsAreNamed) {
  const LayerBlob layer{.bytes = Tar({{.name = "f", .content = "content"}})};
  Layout layout(dir_ / "bad");
  const std::string manifest = layout.AddImage({layer});
  layout.WriteIndex(manifest);
  const std::string layer_path = layout.BlobPath(Sha256::Of(layer.bytes).text());
  std::string changed = layer.bytes;
  changed[512] = 'C';

  test::WriteText(layer_path, changed);
  EXPECT_THAT(ImportError(layout.dir()),
              AllOf(HasSubstr(Sha256::Of(layer.bytes).hex), HasSubstr("wrong digest")));
  test::WriteText(layer_path, layer.bytes.substr(0, 700));
  EXPECT_THAT(ImportError(layout.dir()), HasSubstr(Sha256::Of(layer.bytes).hex));
  std::filesystem::remove(layer_path);
  EXPECT_THAT(ImportError(layout.dir()), HasSubstr("No such file"));
  ASSERT_EQ(::mkfifo(layer_path.c_str(), 0600), 0);
  EXPECT_THAT(ImportError(layout.dir()), HasSubstr("not a regular file"));
  std::filesystem::remove(layer_path);
  std::filesystem::create_symlink("/etc/passwd", layer_path);
  EXPECT_THAT(ImportError(layout.dir()), HasSubstr("open"));

  const std::string manifest_digest = manifest.substr(manifest.find("sha256:"), 71);
  std::string text = *ReadFile(layout.BlobPath(manifest_digest));
  text[text.size() / 2] ^= 1;
  test::WriteText(layout.BlobPath(manifest_digest), text);
  EXPECT_THAT(ImportError(layout.dir()), AllOf(HasSubstr(manifest_digest), HasSubstr("wrong digest")));
  test::WriteText(layout.BlobPath(manifest_digest), text + " ");
  EXPECT_THAT(ImportError(layout.dir()), HasSubstr("wrong size"));
  EXPECT_THAT(*store_->List(), IsEmpty());
  EXPECT_EQ(Count(dir_ / "store/rootfs"), 0U);
}

TEST_F(StoreTest, ContentThatTheConfigDoesNotPromiseIsRefused) {
  Layout layout(dir_ / "diff");
  layout.WriteIndex(
      layout.AddImage({{.bytes = Tar({{.name = "f"}}), .content_digest = Sha256::Of("other").text()}}));

  EXPECT_THAT(ImportError(layout.dir()), HasSubstr("other content"));
}

TEST_F(StoreTest, UnknownMediaTypesAreNamed) {
  Layout layout(dir_ / "types");
  layout.WriteIndex(layout.AddImage({{.bytes = "x", .media_type = "application/x-squashfs"}}));
  EXPECT_THAT(ImportError(layout.dir()), HasSubstr("unknown media type 'application/x-squashfs'"));
  layout.WriteIndex(layout.AddBlob("{}", "application/vnd.docker.distribution.manifest.v1+json"));
  EXPECT_THAT(ImportError(layout.dir()),
              HasSubstr("unknown media type 'application/vnd.docker.distribution"));
}

TEST_F(StoreTest, WhatIsNoImageIsRefused) {
  std::filesystem::create_directory(dir_ / "empty");
  test::WriteText(dir_ / "text", "hello");
  test::WriteText(dir_ / "hostile.tar", Tar({{.name = "../../../evil", .content = "x"}}));
  test::WriteText(dir_ / "node.tar", Tar({{.name = "index.json", .type = '3', .major = 1, .minor = 3}}));

  EXPECT_THAT(ImportError(dir_ / "none"), HasSubstr("No such file"));
  EXPECT_THAT(ImportError(dir_ / "empty"), HasSubstr("neither an OCI image"));
  EXPECT_NE(ImportError(dir_ / "text"), "");
  EXPECT_THAT(ImportError("/dev/null"), HasSubstr("neither a directory nor a file"));
  EXPECT_THAT(ImportError(dir_ / "hostile.tar"), HasSubstr("'..'"));
  EXPECT_THAT(ImportError(dir_ / "node.tar"), HasSubstr("not a regular file"));
}

TEST_F(StoreTest, ArchivesOfALayoutAreRead) {
  const std::string layout = MakeImage("layout", "one", "latest");
  const Image from_directory = Import(layout);

  EXPECT_EQ(Import(TarDirectory(layout, "plain.tar")).id, from_directory.id);
  EXPECT_EQ(Import(TarDirectory(layout, "packed.tar.gz")).id, from_directory.id);
  EXPECT_THAT(store_->Find(from_directory.id)->names,
              ElementsAre("layout:latest", "packed:latest", "plain:latest"));
}

TEST_F(StoreTest, DockerSaveArchivesAreRead) {
  const std::string one = Tar({{.name = "one", .content = "1"}});
  const std::string two = Tar({{.name = ".wh.one"}, {.name = "two", .content = "2"}});
  const std::string config =
      R"({"architecture":"amd64","os":"linux","config":{"Entrypoint":["/two"]},"rootfs":{"type":)"
      R"("layers","diff_ids":[")" +
      Sha256::Of(one).text() + R"(",")" + Sha256::Of(two).text() + "\"]}}";
  const std::string config_path = Sha256::Of(config).hex + ".json";
  const std::string manifest =
      R"([{"Config":")" + config_path +
      R"(","RepoTags":["a:1","docker.io/b:2"],"Layers":["l1/layer.tar","l2/layer.tar"]}])";
  const auto archive = [&](const std::string& config_text) {
    return Tar({{.name = config_path, .content = config_text},
                {.name = "l1/layer.tar", .content = one},
                {.name = "shared/layer.tar", .content = Compress(two, &archive_write_add_filter_gzip)},
                {.name = "l2/layer.tar", .type = '2', .link = "../shared/layer.tar"},
                {.name = "manifest.json", .content = manifest}});
  };
  test::WriteText(dir_ / "good.tar", archive(config));
  test::WriteText(dir_ / "zstd.tar", Compress(archive(config), &archive_write_add_filter_zstd));
  test::WriteText(dir_ / "bad.tar", archive(config + " "));

  const Image image = Import(dir_ / "good.tar");
  EXPECT_EQ(image.id, Sha256::Of(config).text());
  EXPECT_THAT(image.names, ElementsAre("a:1", "b:2"));
  EXPECT_THAT(image.config.entrypoint, ElementsAre("/two"));
  EXPECT_EQ(image.chain_id, ChainId({Sha256::Of(one).text(), Sha256::Of(two).text()}));
  EXPECT_EQ(Import(dir_ / "zstd.tar").id, image.id);
  EXPECT_THAT(ImportError(dir_ / "bad.tar"), HasSubstr("wrong digest"));
}

TEST_F(StoreTest, TwoImportsAtATimeBuildOneFile) {
  const std::string layout = MakeImage("same", std::string(1 << 20, 'x'));
  std::vector<std::string> errors(4);
  std::vector<std::thread> threads;
  for (std::string& error : errors) {
    threads.emplace_back([&] {
      auto store = ImageStore::Open(dir_ / "store");  // as another process would
      auto image = store->Import(layout);
      if (!image.has_value()) error = image.error().Message();
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_THAT(errors, ElementsAre("", "", "", ""));
  EXPECT_THAT(*store_->List(), SizeIs(1));
  EXPECT_EQ(Count(dir_ / "store/rootfs"), 1U);
}

TEST_F(StoreTest, LeftoversOfAKilledImportGo) {
  std::string deep = dir_ / "store/tmp/import/root";
  for (int i = 0; i < 12; ++i) deep += "/" + std::string(200, 'd');
  std::filesystem::create_directories(deep);
  std::filesystem::create_symlink("/etc", dir_ / "store/tmp/import/etc");
  test::WriteText(dir_ / "store/images/abc.json.Qx12Rt", "{");

  ASSERT_TRUE(ImageStore::Open(dir_ / "store").has_value());

  EXPECT_EQ(Count(dir_ / "store/tmp"), 0U);
  EXPECT_EQ(Count(dir_ / "store/images"), 0U);
  EXPECT_TRUE(std::filesystem::exists("/etc/passwd"));
}

TEST_F(StoreTest, BrokenMetadataIsNamedAndHidesNothing) {
  const Image good = Import(MakeImage("good", "one"));
  const Image bad = Import(MakeImage("bad", "two"));
  test::WriteText(dir_ / "store/images/" + bad.id.substr(7) + ".json", R"({"version":1,"id":)");

  std::vector<Error> broken;
  const auto images = store_->List(&broken);
  ASSERT_TRUE(images.has_value());
  EXPECT_THAT(*images, SizeIs(1));
  ASSERT_THAT(broken, SizeIs(1));
  EXPECT_THAT(broken[0].Message(), HasSubstr(bad.id.substr(7) + ".json"));
  EXPECT_FALSE(store_->List().has_value());
  EXPECT_TRUE(store_->Find("good").has_value());
  EXPECT_THAT(store_->Find("bad").error().Message(), HasSubstr(bad.id.substr(7) + ".json"));
  EXPECT_TRUE(store_->Remove("good").has_value());
  EXPECT_TRUE(std::filesystem::exists(bad.rootfs_path));  // it may still be mended
  Import(dir_ / "bad");                                   // and is, by importing it again
  EXPECT_TRUE(store_->Find("bad").has_value());
}

TEST_F(StoreTest, TheStoreIsClosedToOtherUsers) {
  struct stat status = {};
  ASSERT_EQ(::stat((dir_ / "store").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U);
}

TEST_F(StoreTest, MakeBusyboxMakesTheSameImageEachTime) {
  const auto first = RunCommand({HMVM_MAKE_BUSYBOX, "-o", dir_ / "one"});
  ASSERT_TRUE(first.has_value()) << first.error().Message();
  if (first->output.find("busybox-static") != std::string::npos) GTEST_SKIP() << first->output;
  ASSERT_EQ(first->output, dir_ / "one/busybox\n");
  ASSERT_EQ(RunCommand({HMVM_MAKE_BUSYBOX, "-o", dir_ / "two"})->exit_code, 0);

  const Image image = Import(dir_ / "one/busybox");

  EXPECT_EQ(Import(dir_ / "two/busybox").id, image.id);
  EXPECT_THAT(image.names, ElementsAre("busybox:latest"));
  EXPECT_THAT(image.config.cmd, ElementsAre("sh"));
  EXPECT_EQ(*ReadFile(dir_ / "one/busybox/index.json"), *ReadFile(dir_ / "two/busybox/index.json"));
}

// The kernel as judge: what the guest will see.
TEST_F(StoreTest, TheErofsFileHoldsTheLayersAsTheyAre) {
  const std::string capability("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  const std::string base =
      Tar({{.name = "./", .type = '5', .mode = 0755, .mtime = 5},
           {.name = "bin/", .type = '5', .mode = 0755},
           {.name = "bin/su", .content = "x", .mode = 04755, .uid = 100000, .gid = 8, .mtime = 12345},
           {.name = "bin/su2", .type = '1', .link = "bin/su"},
           {.name = "bin/ping",
            .content = "y",
            .mode = 0755,
            .pax = {{"SCHILY.xattr.security.capability", capability}, {"SCHILY.xattr.user.k", "v"}}},
           {.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3},
           {.name = "pipe", .type = '6', .mode = 0622},
           {.name = "lib", .type = '2', .link = "bin"},
           {.name = "latin\xe9"},
           {.name = "gone"}});
  const std::string top = Tar({{.name = ".wh.gone"}, {.name = "lib/late", .content = "z"}});
  Layout layout(dir_ / "full");
  layout.WriteIndex(layout.AddImage({{.bytes = Compress(base, &archive_write_add_filter_zstd),
                                      .media_type = "application/vnd.oci.image.layer.v1.tar+zstd",
                                      .content_digest = Sha256::Of(base).text()},
                                     {.bytes = Compress(top, &archive_write_add_filter_gzip),
                                      .media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip",
                                      .content_digest = Sha256::Of(top).text()}}));
  const Image image = Import(layout.dir());
  const std::string mnt = dir_ / "mnt";
  std::filesystem::create_directory(mnt);
  const auto mounted = RunCommand({"/usr/bin/mount", "-t", "erofs", "-o", "loop,ro", image.rootfs_path, mnt});
  if (!mounted.has_value() || mounted->exit_code != 0) GTEST_SKIP() << "no loop mount of EROFS on this host";

  const auto stat_of = [&](const std::string& name) {
    struct stat status = {};
    EXPECT_EQ(::lstat((mnt + "/" + name).c_str(), &status), 0) << name;
    return status;
  };
  char value[64];
  EXPECT_EQ(stat_of("bin/su").st_mode, S_IFREG | 04755U);
  EXPECT_EQ(stat_of("bin/su").st_uid, 100000U);
  EXPECT_EQ(stat_of("bin/su").st_gid, 8U);
  EXPECT_EQ(stat_of("bin/su").st_mtim.tv_sec, 12345);
  EXPECT_EQ(stat_of("bin/su").st_nlink, 2U);
  EXPECT_EQ(stat_of("bin/su").st_ino, stat_of("bin/su2").st_ino);
  EXPECT_EQ(std::string(value, ::getxattr((mnt + "/bin/ping").c_str(), "security.capability", value, 64)),
            capability);
  EXPECT_EQ(std::string(value, ::getxattr((mnt + "/bin/ping").c_str(), "user.k", value, 64)), "v");
  EXPECT_EQ(stat_of("null").st_rdev, ::makedev(1, 3));
  EXPECT_EQ(stat_of("pipe").st_mode, S_IFIFO | 0622U);
  EXPECT_EQ(std::filesystem::read_symlink(mnt + "/lib"), "bin");
  EXPECT_EQ(*ReadFile(mnt + "/bin/late"), "z");
  EXPECT_TRUE(std::filesystem::exists(mnt + "/latin\xe9"));
  EXPECT_FALSE(std::filesystem::exists(mnt + "/gone"));
  EXPECT_EQ(stat_of("").st_mtim.tv_sec, 5);
  EXPECT_EQ(::umount2(mnt.c_str(), MNT_DETACH), 0);
}

TEST_F(StoreTest, WhatIsUnpackedInMemoryIsSeenByNobodyElse) {
  std::filesystem::create_directory(dir_ / "scratch");
  size_t seen_inside = 0;
  size_t seen_outside = 0;
  const auto ran = RunOnTmpfs(dir_ / "scratch", 1 << 20, [&]() -> Result<> {
    test::WriteText(dir_ / "scratch/file", "x");
    seen_inside = Count(dir_ / "scratch");
    HMVM_TRY_ASSIGN(const auto outside, RunCommand({"/usr/bin/nsenter", "-t", std::to_string(::getpid()),
                                                    "-m", "/usr/bin/test", "-e", dir_ / "scratch/file"}));
    seen_outside = outside.exit_code == 0 ? 1 : 0;
    return {};
  });
  if (!ran.has_value() && ran.error().code == EPERM) GTEST_SKIP() << "no right to mount";

  ASSERT_TRUE(ran.has_value()) << ran.error().Message();
  EXPECT_EQ(seen_inside, 1U);
  EXPECT_EQ(seen_outside, 0U);
  EXPECT_EQ(Count(dir_ / "scratch"), 0U);
}

// Capabilities belong to a thread, and those that it starts inherit them.
void DropMountCapability() {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  EXPECT_EQ(::syscall(SYS_capget, &header, data), 0);
  for (auto* set : {&data[0].effective, &data[0].permitted, &data[0].inheritable})
    *set &= ~(1U << CAP_SYS_ADMIN);
  EXPECT_EQ(::syscall(SYS_capset, &header, data), 0);
}

TEST_F(StoreTest, WithoutTheRightToMountTheTreeIsMadeOnDisk) {
  const Image in_memory = Import(MakeImage("same", "content"));
  const std::string bytes = *ReadFile(in_memory.rootfs_path);
  ASSERT_TRUE(store_->Remove("same").has_value());
  std::thread([&] {
    DropMountCapability();
    Import(dir_ / "same");
  }).join();

  EXPECT_EQ(Sha256::Of(*ReadFile(in_memory.rootfs_path)), Sha256::Of(bytes));
}

TEST_F(StoreTest, TheSameLayersGiveTheSameBytes) {
  const Image first = Import(MakeImage("same", "content"));
  const std::string bytes = *ReadFile(first.rootfs_path);
  ASSERT_TRUE(store_->Remove("same").has_value());
  const Image second = Import(dir_ / "same");

  EXPECT_EQ(Sha256::Of(*ReadFile(second.rootfs_path)), Sha256::Of(bytes));
}

}  // namespace
}  // namespace hmvm
