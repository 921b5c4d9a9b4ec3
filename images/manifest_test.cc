#include "images/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "images/metadata.h"
#include "images/name.h"
#include "images/sha256.h"

namespace hmvm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string Config(const std::string& config) {
  return R"({"architecture":"amd64","os":"linux","config":)" + config +
         R"(,"rootfs":{"type":"layers","diff_ids":[")" + kDigest + "\"]}}";
}

TEST(DigestTest, OnlySha256InLowerCaseIsTaken) {
  EXPECT_TRUE(Digest::Parse(kDigest).has_value());
  EXPECT_FALSE(Digest::Parse("sha256:" + std::string(64, 'A')).has_value());
  EXPECT_FALSE(Digest::Parse("sha256:" + std::string(63, 'a')).has_value());
  EXPECT_FALSE(Digest::Parse("sha256:../" + std::string(61, 'a')).has_value());
  EXPECT_FALSE(Digest::Parse("sha512:" + std::string(128, 'a')).has_value());
  EXPECT_EQ(Sha256::Of("abc").hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(NameTest, NamesHaveOneSpelling) {
  EXPECT_EQ(*NormalizeName("busybox"), "busybox:latest");
  EXPECT_EQ(*NormalizeName("docker.io/library/busybox:1.36"), "busybox:1.36");
  EXPECT_EQ(*NormalizeName("docker.io/team/tool"), "team/tool:latest");
  EXPECT_EQ(*NormalizeName("Registry.example:5000/a/b_c-d.e:V1"), "Registry.example:5000/a/b_c-d.e:V1");
}

TEST(NameTest, WhatIsNoNameIsRefused) {
  for (const char* name : {"", ":", "a:", ":b", "/a", "a/", "a//b", "../a", "a/../b", "a b", "A", "a:b:c",
                           "a:b/../c", "-a", ".a", "a:.b", "a\n", "a%2Fb", "docker.io/"}) {
    EXPECT_FALSE(NormalizeName(name).has_value()) << name;
  }
  // The tag that is added counts too.
  EXPECT_TRUE(NormalizeName(std::string(193, 'a')).has_value());
  EXPECT_FALSE(NormalizeName(std::string(194, 'a')).has_value());
  EXPECT_FALSE(NormalizeName(std::string(300, 'a')).has_value());
}

TEST(NameTest, AFileGivesItsNameWithoutSuffixes) {
  EXPECT_EQ(NameFromPath("/tmp/out/busybox/"), "busybox");
  EXPECT_EQ(NameFromPath("debian-min.tar.gz"), "debian-min");
  EXPECT_EQ(NameFromPath("."), "");
}

TEST(ConfigFileTest, FieldsAreReadAndNullMeansNotSet) {
  const auto file = ParseConfigFile(Config(
      R"({"Entrypoint":["/init"],"Cmd":null,"Env":["A=1","B=","broken","=x"],"User":"1:2","WorkingDir":"/w",
          "StopSignal":"SIGINT","Healthcheck":{"Test":["CMD","x"],"Interval":5000000000,"Retries":2},"Labels":{"k":"v"},"ExposedPorts":{"80/tcp":{}},"Volumes":{"/data":{}}})"));

  ASSERT_TRUE(file.has_value()) << file.error().Message();
  EXPECT_THAT(file->config.entrypoint, ElementsAre("/init"));
  EXPECT_TRUE(file->config.cmd.empty());
  EXPECT_THAT(file->config.env, ElementsAre("A=1", "B="));
  EXPECT_EQ(file->config.user, "1:2");
  EXPECT_EQ(file->config.working_dir, "/w");
  EXPECT_EQ(file->config.stop_signal, "SIGINT");
  EXPECT_THAT(file->config.health_check.test, ElementsAre("CMD", "x"));
  EXPECT_EQ(file->config.health_check.interval_ns, 5'000'000'000);
  EXPECT_EQ(file->config.health_check.timeout_ns, 0);
  EXPECT_EQ(file->config.health_check.retries, 2U);
  EXPECT_EQ(file->config.labels.at("k"), "v");
  EXPECT_THAT(file->config.exposed_ports, ElementsAre("80/tcp"));
  EXPECT_THAT(file->config.volumes, ElementsAre("/data"));
  EXPECT_EQ(file->diff_ids.at(0).text(), kDigest);
}

TEST(ConfigFileTest, AbsurdDocumentsAreErrors) {
  const std::string nul = Config(R"({"Cmd":["a\u0000b"]})");
  const std::string nul_key = Config(R"({"Labels":{"a\u0000b":"c"}})");
  const std::string deep = std::string(100'000, '[');
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), nul, nul_key, deep,
        Config(R"({"Healthcheck":{"Interval":-1}})"), Config(R"({"Healthcheck":{"Retries":1e12}})"),
        Config(R"({"Healthcheck":[1]})"), Config(R"({"Cmd":"sh"})"), Config(R"({"Cmd":[1]})"), Config("[1]"),
        Config(R"({"Cmd":["\xff"]})"), std::string("{\"os\":\"\xff\"}")}) {
    const auto file = ParseConfigFile(text);
    ASSERT_FALSE(file.has_value()) << text.substr(0, 100);
    EXPECT_THAT(file.error().what, HasSubstr("image config"));
  }
}

TEST(IndexTest, SizesMustBeCounts) {
  for (const char* size : {"-1", "1.5", "\"1\"", "1e30", "null", "{}"}) {
    const auto index = ParseIndex(R"({"schemaVersion":2,"manifests":[{"mediaType":"m","digest":")" + kDigest +
                                  R"(","size":)" + size + "}]}");
    EXPECT_FALSE(index.has_value()) << size;
  }
}

TEST(IndexTest, AnOldSchemaIsRefused) {
  EXPECT_FALSE(ParseIndex(R"({"schemaVersion":1,"manifests":[]})").has_value());
  EXPECT_FALSE(ParseManifest(R"({"schemaVersion":1,"layers":[]})").has_value());
}

TEST(ManifestTest, TooManyLayersAreRefused) {
  const std::string layer = R"({"mediaType":"m","digest":")" + kDigest + R"(","size":1})";
  std::string layers = layer;
  for (size_t i = 0; i < kMaxLayers; ++i) layers += "," + layer;

  const auto manifest =
      ParseManifest(R"({"schemaVersion":2,"config":)" + layer + R"(,"layers":[)" + layers + "]}");

  ASSERT_FALSE(manifest.has_value());
  EXPECT_THAT(manifest.error().what, HasSubstr("too many layers"));
}

TEST(MetadataTest, ImageFilesComeBackAsTheyWere) {
  Image image{.id = kDigest,
              .names = {},
              .chain_id = kDigest,
              .rootfs_path = "",
              .size_bytes = 7,
              .created = "t",
              .architecture = "amd64",
              .config = {}};
  image.config.cmd = {"a", "\x01 \"quoted\" \xc3\xa9"};
  image.config.labels = {{"k", "v"}};

  const auto read = ParseImageFile(FormatImageFile(image));

  ASSERT_TRUE(read.has_value()) << read.error().Message();
  EXPECT_EQ(read->id, image.id);
  EXPECT_EQ(read->size_bytes, 7U);
  EXPECT_EQ(read->config, image.config);
}

TEST(MetadataTest, ANewerVersionIsNotMisread) {
  const auto read = ParseNameFile(R"({"version":2,"name":"a:b","id":")" + kDigest + "\"}");

  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error().what, HasSubstr("version 2"));
}

}  // namespace
}  // namespace hmvm
