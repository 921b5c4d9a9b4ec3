#include "images/layer.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "images/sha256.h"
#include "images/test_support.h"

namespace hmvm {
namespace {

using test::Compress;
using test::Member;
using test::Tar;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A tree, beside it a directory that no tar may touch.
class LayerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: layers bring owners and device nodes";
    for (const char* name : {"root", "trash", "outside"}) std::filesystem::create_directory(dir_ / name);
    test::WriteText(dir_ / "outside/secret", "untouched");
    tree_.emplace(*OpenFile(dir_ / "root", O_RDONLY | O_DIRECTORY),
                  *OpenFile(dir_ / "trash", O_RDONLY | O_DIRECTORY));
  }

  void TearDown() override {
    if (!tree_) return;
    EXPECT_EQ(*ReadFile(dir_ / "outside/secret"), "untouched");
    struct stat status = {};
    ::stat((dir_ / "outside").c_str(), &status);
    EXPECT_EQ(status.st_mode & 07777, 0755U);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_ / "outside"), {}), 1);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.path()), {}), 3 + has_blob_);
  }

  Result<LayerDigests> ApplyBytes(const std::string& bytes, Compression compression = Compression::kPlain) {
    test::WriteText(dir_ / "blob", bytes);
    has_blob_ = 1;
    HMVM_TRY_ASSIGN(const UniqueFd fd, OpenFile(dir_ / "blob", O_RDONLY));
    return ApplyLayer(fd.get(), compression, *tree_, limits_, usage_);
  }
  std::string Apply(const std::vector<Member>& members) {  // the error's text, "" when there is none
    const auto applied = ApplyBytes(Tar(members));
    return applied.has_value() ? "" : applied.error().Message();
  }
  std::string Path(const std::string& name) const { return dir_ / "root/" + name; }
  struct stat Stat(const std::string& name) const {
    struct stat status = {};
    EXPECT_EQ(::lstat(Path(name).c_str(), &status), 0) << name;
    return status;
  }
  bool Exists(const std::string& name) const {
    struct stat status = {};
    return ::lstat(Path(name).c_str(), &status) == 0;
  }
  std::string Text(const std::string& name) const {
    auto text = ReadFile(Path(name));
    return text.has_value() ? *text : text.error().Message();
  }
  std::vector<std::string> All() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(Path(""))) {
      all.push_back(std::filesystem::relative(entry.path(), Path("")).string());
    }
    std::sort(all.begin(), all.end());
    return all;
  }

  test::TempDir dir_;
  int has_blob_ = 0;
  TreeLimits limits_;
  TreeUsage usage_;
  std::optional<TreeWriter> tree_;
};

TEST_F(LayerTest, FilesKeepOwnerModeAndTime) {
  ASSERT_EQ(
      Apply({{.name = "./bin/", .type = '5', .mode = 02755, .gid = 7},
             {.name = "./bin/su", .content = "x", .mode = 04755, .uid = 70000, .gid = 3, .mtime = 12345},
             {.name = "tmp", .type = '5', .mode = 01777, .mtime = 777}}),
      "");
  ASSERT_TRUE(tree_->Finish().has_value());

  EXPECT_EQ(Stat("bin").st_mode, S_IFDIR | 02755U);
  EXPECT_EQ(Stat("bin/su").st_mode, S_IFREG | 04755U);
  EXPECT_EQ(Stat("bin/su").st_uid, 70000U);
  EXPECT_EQ(Stat("bin/su").st_gid, 3U);
  EXPECT_EQ(Stat("bin/su").st_mtim.tv_sec, 12345);
  EXPECT_EQ(Stat("tmp").st_mode, S_IFDIR | 01777U);
  EXPECT_EQ(Stat("tmp").st_mtim.tv_sec, 777);
  EXPECT_EQ(Stat("bin").st_mtim.tv_sec, 1000);  // although a file was made in it afterwards
  EXPECT_EQ(Stat("").st_mtim.tv_sec, 0);        // no entry of its own
}

TEST_F(LayerTest, MissingParentsAreMadeWithFixedAttributes) {
  ::umask(077);
  EXPECT_EQ(Apply({{.name = "g", .type = '5', .mode = 02770, .gid = 9}, {.name = "g/a/b/f"}}), "");
  ::umask(022);
  ASSERT_TRUE(tree_->Finish().has_value());

  EXPECT_EQ(Stat("g/a/b").st_mode, S_IFDIR | 0755U);
  EXPECT_EQ(Stat("g/a").st_gid, 0U);
  EXPECT_EQ(Stat("g/a").st_mtim.tv_sec, 0);
}

TEST_F(LayerTest, NodesLinksAndFifos) {
  ASSERT_EQ(Apply({{.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3},
                   {.name = "disk", .type = '4', .mode = 0660, .gid = 6, .major = 259, .minor = 70000},
                   {.name = "pipe", .type = '6', .mode = 0600},
                   {.name = "link", .type = '2', .link = "../../outside", .uid = 5},
                   {.name = "a", .content = "abc"},
                   {.name = "b", .type = '1', .link = "./a"},
                   {.name = "c", .type = '1', .link = "/link"}}),
            "");

  EXPECT_EQ(Stat("null").st_mode, S_IFCHR | 0666U);
  EXPECT_EQ(Stat("null").st_rdev, ::makedev(1, 3));
  EXPECT_EQ(Stat("disk").st_rdev, ::makedev(259, 70000));
  EXPECT_EQ(Stat("pipe").st_mode, S_IFIFO | 0600U);
  EXPECT_EQ(Stat("link").st_uid, 5U);
  EXPECT_EQ(std::filesystem::read_symlink(Path("link")), "../../outside");
  EXPECT_EQ(Stat("a").st_ino, Stat("b").st_ino);
  EXPECT_EQ(Stat("c").st_ino, Stat("link").st_ino);  // the link itself, not where it leads
}

TEST_F(LayerTest, XattrsAreKeptByteForByte) {
  const std::string capability("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  ASSERT_EQ(Apply({{.name = "ping",
                    .content = "x",
                    .mode = 0755,
                    .uid = 9,
                    .pax = {{"SCHILY.xattr.security.capability", capability},
                            {"SCHILY.xattr.user.\xe9", std::string("v\0\xff", 3)},
                            {"SCHILY.xattr.trusted.overlay.opaque", "y"}}}}),
            "");

  char value[64];
  EXPECT_EQ(std::string(value, ::getxattr(Path("ping").c_str(), "security.capability", value, 64)),
            capability);
  EXPECT_EQ(std::string(value, ::getxattr(Path("ping").c_str(), "user.\xe9", value, 64)),
            std::string("v\0\xff", 3));
  EXPECT_LT(::getxattr(Path("ping").c_str(), "trusted.overlay.opaque", value, 64), 0);
}

TEST_F(LayerTest, LongAndNonUtf8Names) {
  const std::string longer = std::string(200, 'l') + "/" + std::string(255, 'n');
  ASSERT_EQ(
      Apply({{.name = "x", .pax = {{"path", longer}}},
             {.name = "latin\xe9\xff"},
             {.name = "x", .pax = {{"path", "go\xe9\xff"}}},
             {.name = "x", .pax = {{"path", "caf\xc3\xa9"}}},
             {.name = "x", .type = '2', .link = "y", .pax = {{"path", "s\xff"}, {"linkpath", "t\xfe"}}}}),
      "");

  EXPECT_TRUE(Exists(longer));
  EXPECT_TRUE(Exists("latin\xe9\xff"));
  EXPECT_TRUE(Exists("go\xe9\xff"));
  EXPECT_TRUE(Exists("caf\xc3\xa9"));
  EXPECT_EQ(std::filesystem::read_symlink(Path("s\xff")), "t\xfe");
}

TEST_F(LayerTest, SparseFilesKeepTheirSizeAndData) {
  const std::string map = "2\n0\n3\n1048576\n0\n";
  ASSERT_EQ(Apply({{.name = "GNUSparseFile.0/s",
                    .content = test::Padded(map) + "abc",
                    .pax = {{"GNU.sparse.major", "1"},
                            {"GNU.sparse.minor", "0"},
                            {"GNU.sparse.name", "s"},
                            {"GNU.sparse.realsize", "1048576"}}}}),
            "");

  EXPECT_EQ(Stat("s").st_size, 1048576);
  EXPECT_LT(Stat("s").st_blocks, 100);
  EXPECT_EQ(Text("s").substr(0, 5), std::string("abc\0\0", 5));
}

TEST_F(LayerTest, LaterLayersReplaceAndDirectoriesMerge) {
  ASSERT_EQ(Apply({{.name = "d", .type = '5', .mode = 0755, .pax = {{"SCHILY.xattr.user.old", "1"}}},
                   {.name = "d/keep", .content = "keep"},
                   {.name = "d/change", .content = "old"},
                   {.name = "dir-to-file", .type = '5'},
                   {.name = "dir-to-file/x"},
                   {.name = "file-to-dir"},
                   {.name = "link-to-dir", .type = '2', .link = "d"}}),
            "");
  ASSERT_EQ(Apply({{.name = "d", .type = '5', .mode = 0700},
                   {.name = "d/change", .content = "new"},
                   {.name = "dir-to-file", .content = "file"},
                   {.name = "file-to-dir", .type = '5'},
                   {.name = "file-to-dir/y"},
                   {.name = "link-to-dir", .type = '5'}}),
            "");

  EXPECT_EQ(Text("d/keep"), "keep");
  EXPECT_EQ(Text("d/change"), "new");
  EXPECT_EQ(Stat("d").st_mode, S_IFDIR | 0700U);
  EXPECT_LT(::getxattr(Path("d").c_str(), "user.old", nullptr, 0), 0);
  EXPECT_EQ(Text("dir-to-file"), "file");
  EXPECT_TRUE(Exists("file-to-dir/y"));
  EXPECT_TRUE(S_ISDIR(Stat("link-to-dir").st_mode));
}

TEST_F(LayerTest, HardLinksReachAcrossLayers) {
  ASSERT_EQ(Apply({{.name = "a", .content = "one"}, {.name = "b", .type = '1', .link = "a"}}), "");
  ASSERT_EQ(Apply({{.name = "c", .type = '1', .link = "a"}, {.name = "a", .content = "two"}}), "");

  EXPECT_EQ(Stat("b").st_ino, Stat("c").st_ino);
  EXPECT_EQ(Text("c"), "one");
  EXPECT_EQ(Text("a"), "two");
}

TEST_F(LayerTest, WhiteoutsRemoveOnlyWhatLiesBelow) {
  ASSERT_EQ(Apply({{.name = "d/old"},
                   {.name = "d/sub/old"},
                   {.name = "gone"},
                   {.name = "goneDir/x"},
                   {.name = "o/old"},
                   {.name = "o/sub/old"}}),
            "");
  ASSERT_EQ(Apply({{.name = "d/new"},
                   {.name = "o/new"},
                   {.name = "o/sub/new"},
                   {.name = ".wh.gone"},
                   {.name = ".wh.goneDir"},
                   {.name = ".wh.never-there"},
                   {.name = "no/parent/.wh.x"},
                   {.name = ".wh.d"},  // after d/new: hides the lower d, keeps the new
                   {.name = "o/.wh..wh..opq"},
                   {.name = ".wh..wh.plnk", .type = '5'}}),
            "");

  EXPECT_THAT(All(), ElementsAre("d", "d/new", "o", "o/new", "o/sub", "o/sub/new"));
}

TEST_F(LayerTest, WhiteoutOfADirectoryMakesRoomForANewOne) {
  ASSERT_EQ(Apply({{.name = "d/old"}}), "");
  ASSERT_EQ(Apply({{.name = ".wh.d"}, {.name = "d/new"}}), "");

  EXPECT_THAT(All(), ElementsAre("d", "d/new"));
}

TEST_F(LayerTest, ParentsMayBeLinksAsInsideTheContainer) {
  ASSERT_EQ(
      Apply({{.name = "usr/lib/a"}, {.name = "lib", .type = '2', .link = "/usr/lib"}, {.name = "lib/b"}}),
      "");

  EXPECT_TRUE(Exists("usr/lib/b"));
}

TEST_F(LayerTest, AbsoluteNamesStayInside) {
  ASSERT_EQ(Apply({{.name = dir_ / "outside/secret", .content = "owned"}, {.name = "//etc//./passwd"}}), "");

  EXPECT_TRUE(Exists("etc/passwd"));
  EXPECT_EQ(Text((dir_ / "outside/secret").substr(1)), "owned");  // below the root, under its whole path
}

TEST_F(LayerTest, DotDotIsRefused) {
  EXPECT_THAT(Apply({{.name = "../outside/secret"}}), HasSubstr("'..'"));
  EXPECT_THAT(Apply({{.name = "a/../../outside/secret"}}), HasSubstr("'..'"));
  EXPECT_THAT(Apply({{.name = ".."}}), HasSubstr("'..'"));
  EXPECT_THAT(Apply({{.name = "h", .type = '1', .link = "../outside/secret"}}), HasSubstr("'..'"));
  EXPECT_THAT(Apply({{.name = "x", .pax = {{"path", "../outside/secret"}}}}), HasSubstr("'..'"));
}

TEST_F(LayerTest, SymbolicLinksAreNoWayOut) {
  const std::string outside = dir_ / "outside";
  ASSERT_EQ(Apply({{.name = "up", .type = '2', .link = "../../../../../../.." + outside},
                   {.name = "abs", .type = '2', .link = outside},
                   {.name = "file", .type = '2', .link = outside + "/secret"},
                   {.name = "proc", .type = '2', .link = "/proc/self/root"}}),
            "");

  // A dangling parent, as seen from the root of the image: refused.
  EXPECT_NE(Apply({{.name = "up/secret", .content = "owned"}}), "");
  EXPECT_NE(Apply({{.name = "abs/secret", .content = "owned"}}), "");
  EXPECT_NE(Apply({{.name = "abs/new/secret", .content = "owned"}}), "");
  EXPECT_NE(Apply({{.name = "proc/secret", .content = "owned"}}), "");
  EXPECT_NE(Apply({{.name = "h", .type = '1', .link = "abs/secret"}}), "");
  // Whiteouts of what is not there do nothing.
  EXPECT_EQ(Apply({{.name = "abs/.wh.secret"}, {.name = "abs/.wh..wh..opq"}}), "");
  // A last component is replaced, not followed: here a directory, a file and attributes over links.
  EXPECT_EQ(Apply({{.name = "abs", .type = '5', .mode = 0777}, {.name = "file", .content = "inside"}}), "");
  EXPECT_EQ(Text("file"), "inside");
}

TEST_F(LayerTest, AParentSwappedForALinkIsNotRememberedByPath) {
  ASSERT_EQ(Apply({{.name = "a", .type = '5'},
                   {.name = "a/one"},
                   {.name = "b", .type = '5'},
                   {.name = "a", .type = '2', .link = "b"},
                   {.name = "a/two"}}),
            "");

  EXPECT_TRUE(Exists("b/two"));
}

TEST_F(LayerTest, WhiteoutsOfDotsAreRefused) {
  EXPECT_THAT(Apply({{.name = ".wh.."}}), HasSubstr("whiteout of nothing"));
  EXPECT_THAT(Apply({{.name = "d/.wh..."}}), HasSubstr("whiteout of nothing"));
  EXPECT_THAT(Apply({{.name = ".wh."}}), HasSubstr("whiteout of nothing"));
}

TEST_F(LayerTest, BadMembersAreNamed) {
  EXPECT_THAT(Apply({{.name = "h", .type = '1', .link = "none"}}),
              HasSubstr("target 'none' of hard link 'h'"));
  EXPECT_THAT(Apply({{.name = "d", .type = '5'}, {.name = "h", .type = '1', .link = "d"}}),
              HasSubstr("'/h'"));
  EXPECT_THAT(Apply({{.name = "f"}, {.name = "f", .type = '1', .link = "f"}}), HasSubstr("to itself"));
  EXPECT_THAT(Apply({{.name = ".", .content = "x"}}), HasSubstr("root"));
  EXPECT_THAT(Apply({{.name = "f"}, {.name = "f/x"}}), HasSubstr("Not a directory"));
  EXPECT_THAT(Apply({{.name = "x", .pax = {{"uid", "4294967295"}}}}), HasSubstr("owner out of range"));
  EXPECT_THAT(Apply({{.name = "x", .pax = {{"path", std::string(256, 'n')}}}}), HasSubstr("too long"));
  std::string deep;
  for (int i = 0; i < 300; ++i) deep += "d/";
  EXPECT_THAT(Apply({{.name = "x", .pax = {{"path", deep + "f"}}}}), HasSubstr("too deep"));
}

TEST_F(LayerTest, HugeSizesAreRefusedBeforeTheyCost) {
  EXPECT_THAT(Apply({{.name = "x", .size_text = "77777777777"}}), HasSubstr("Truncated"));
  EXPECT_THAT(Apply({{.name = "y", .pax = {{"size", "1099511627776"}}}}), HasSubstr("larger than"));
  EXPECT_THAT(Apply({{.name = "s",
                      .pax = {{"GNU.sparse.major", "1"},
                              {"GNU.sparse.minor", "0"},
                              {"GNU.sparse.name", "s"},
                              {"GNU.sparse.realsize", "1152921504606846976"}},
                      .size_text = ""}}),
              ::testing::Not(""));
  limits_.max_entries = usage_.entries + 2;
  EXPECT_THAT(Apply({{.name = "1"}, {.name = "2"}, {.name = "3"}}), HasSubstr("larger than"));
}

TEST_F(LayerTest, DataIsFoundPlainGzipAndZstd) {
  const std::string tar = Tar({{.name = "f", .content = "content"}});

  for (const auto& [bytes, compression] :
       {std::pair(tar, Compression::kPlain),
        std::pair(Compress(tar, &archive_write_add_filter_gzip), Compression::kGzip),
        std::pair(Compress(tar, &archive_write_add_filter_zstd), Compression::kZstd)}) {
    for (const Compression way : {compression, Compression::kDetect}) {
      const auto digests = ApplyBytes(bytes, way);
      ASSERT_TRUE(digests.has_value()) << digests.error().Message();
      EXPECT_EQ(digests->blob, Sha256::Of(bytes));
      EXPECT_EQ(digests->content, Sha256::Of(tar));
      EXPECT_EQ(Text("f"), "content");
    }
  }
}

TEST_F(LayerTest, DigestsCoverWhatFollowsTheArchive) {
  const std::string tar = Tar({{.name = "f"}}) + std::string(100'000, 'z');
  const std::string blob = Compress(tar, &archive_write_add_filter_gzip) + std::string(300'000, '\0');

  const auto digests = ApplyBytes(blob, Compression::kGzip);

  ASSERT_TRUE(digests.has_value()) << digests.error().Message();
  EXPECT_EQ(digests->blob, Sha256::Of(blob));
  EXPECT_EQ(digests->content, Sha256::Of(tar));
}

TEST_F(LayerTest, TruncatedOrWrongDataIsAnError) {
  std::string noise;
  for (unsigned i = 0, x = 1; i < 200'000; ++i)
    noise += static_cast<char>((x = x * 1103515245 + 12345) >> 16);
  const std::string tar = Tar({{.name = "f", .content = noise}});
  const std::string gzip = Compress(tar, &archive_write_add_filter_gzip);
  const std::string zstd = Compress(tar, &archive_write_add_filter_zstd);

  EXPECT_FALSE(ApplyBytes(tar.substr(0, 100'000), Compression::kPlain).has_value());
  EXPECT_FALSE(ApplyBytes(gzip.substr(0, gzip.size() / 2), Compression::kGzip).has_value());
  EXPECT_FALSE(ApplyBytes(zstd.substr(0, zstd.size() / 2), Compression::kZstd).has_value());
  EXPECT_FALSE(ApplyBytes("this is not a tar", Compression::kPlain).has_value());
  EXPECT_FALSE(ApplyBytes(tar, Compression::kGzip).has_value());
  EXPECT_FALSE(ApplyBytes(gzip, Compression::kZstd).has_value());
  EXPECT_FALSE(ApplyBytes(gzip, Compression::kPlain).has_value());
}

}  // namespace
}  // namespace hmvm
