#include "runtime/container/store.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class ContainerStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "hmvm_store_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    auto store = ContainerStore::Open(folder_ + "/root", folder_ + "/run");
    ASSERT_TRUE(store.has_value());
    store_ = std::make_unique<ContainerStore>(std::move(*store));
  }
  void TearDown() override { fs::remove_all(folder_); }

  ContainerRecord Record(const std::string& name = "") {
    ContainerConfig config;
    config.image = "busybox";
    config.args = {"sh", "-c", "echo \xff\xfe \xc3\xa4"};
    config.env = {"BYTES=\x80", "PLAIN=\xc3\xa4"};
    config.memory_bytes = uint64_t{256} << 20;
    config.security_profile = "strict";
    config.profile = "version: 1\n";
    config.confinement = {.privileged = true,
                          .capabilities = 5,
                          .seccomp = "/a\xff.json",
                          .seccomp_filter = std::string("\x00\xff\x10", 3),
                          .no_new_privileges = true,
                          .open_system_paths = true,
                          .devices = {"/dev/fuse"}};
    config.terminal = true;
    config.restart_policy = {.when = RestartPolicy::When::kOnFailure, .max_restarts = 3};
    config.health_check.command = {"test", "-e", "/\x80"};
    ContainerRecord record = NewContainerRecord(NewContainerId(), name, config);
    record.health.status = Health::kStarting;
    record.health.Add(config.health_check,
                      {.begun_unix_ns = 1, .ended_unix_ns = 2, .exit_code = 1, .output = "\xff"}, false);
    record.owner = *IdentifyProcess(::getpid());
    return record;
  }
  // An identity that no process has any more.
  static ProcessIdentity Dead() {
    const pid_t child = ::fork();
    if (child == 0) ::pause();
    ProcessIdentity identity = *IdentifyProcess(child);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return identity;
  }
  std::vector<std::string> Actions() const {
    std::vector<std::string> actions;
    EventReader reader = EventReader::Open(store_->events()).value();
    for (auto event = reader.Next(); event.has_value() && event->has_value(); event = reader.Next()) {
      actions.push_back((*event)->action);
    }
    return actions;
  }
  void WriteState(const std::string& id, const std::string& text) {
    std::ofstream(store_->Folder(id) + "/state.json") << text;
  }

  std::string folder_;
  std::unique_ptr<ContainerStore> store_;
};

TEST_F(ContainerStoreTest, ARecordComesBackAsItWas) {
  const ContainerRecord record = Record("web");
  ASSERT_TRUE(store_->Add(record).has_value());
  const auto loaded = store_->Load(record.id);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().Message();
  EXPECT_EQ(*loaded, record);
  EXPECT_TRUE(fs::is_directory(store_->RunFolder(record.id)));
}

TEST_F(ContainerStoreTest, FoundByNameIdAndBeginningOfId) {
  const ContainerRecord record = Record("web");
  ASSERT_TRUE(store_->Add(record).has_value());
  for (const std::string& key : {std::string("web"), record.id, record.id.substr(0, 5)}) {
    EXPECT_EQ(store_->Find(key)->id, record.id) << key;
  }
  EXPECT_THAT(store_->Find("we").error().what, HasSubstr("no container 'we'"));
  EXPECT_FALSE(store_->Find("").has_value());
}

TEST_F(ContainerStoreTest, ATakenNameIsRefusedAndLeavesNothing) {
  ASSERT_TRUE(store_->Add(Record("web")).has_value());
  const ContainerRecord second = Record("web");
  const auto added = store_->Add(second);
  ASSERT_FALSE(added.has_value());
  EXPECT_THAT(added.error().what, HasSubstr("'web' is taken by"));
  EXPECT_EQ(store_->List()->size(), 1U);
  EXPECT_FALSE(fs::exists(store_->RunFolder(second.id)));
}

TEST_F(ContainerStoreTest, ATakenNameIsRefusedAlsoWhereTheNewIdBeginsWithIt) {
  ASSERT_TRUE(store_->Add(Record("c")).has_value());
  ContainerRecord second = Record("c");
  second.id[0] = 'c';
  EXPECT_FALSE(store_->Add(second).has_value());
}

TEST_F(ContainerStoreTest, AnOwnerThatDiedMeansFailed) {
  ContainerRecord record = Record("web");
  ASSERT_TRUE(store_->Add(record).has_value());
  ASSERT_TRUE(store_->Enter(record, Status::kStarting).has_value());
  ASSERT_TRUE(store_->Enter(record, Status::kRunning).has_value());
  EXPECT_EQ(store_->Load(record.id)->status(), Status::kRunning);

  record.owner = Dead();
  ASSERT_TRUE(store_->Save(record).has_value());

  const auto loaded = store_->Load(record.id);
  EXPECT_EQ(loaded->status(), Status::kFailed);
  EXPECT_EQ(loaded->exit_code, 137);
  EXPECT_THAT(loaded->reason, HasSubstr("was killed"));
  EXPECT_EQ(*store_->Load(record.id), *loaded) << "written by whoever saw it first";
  EXPECT_THAT(Actions(), ElementsAre("created", "starting", "running", "failed"));
}

TEST_F(ContainerStoreTest, AStepThatIsIllegalOrCantBeWrittenHasNotHappened) {
  ContainerRecord record = Record("web");
  ASSERT_TRUE(store_->Add(record).has_value());
  const auto illegal = store_->Enter(record, Status::kPaused);
  EXPECT_EQ(illegal.error().code, EBUSY);
  EXPECT_THAT(illegal.error().what, HasSubstr("'web' is not running, it is created"));

  fs::remove_all(store_->events().folder());
  EXPECT_FALSE(store_->Enter(record, Status::kStarting).has_value());

  EXPECT_EQ(record.status(), Status::kCreated);
  EXPECT_EQ(store_->Load(record.id)->status(), Status::kCreated);
}

TEST_F(ContainerStoreTest, OneProcessCanClaimAContainerThatDoesNotRun) {
  ContainerRecord record = Record("web");
  record.owner = {};  // `hmvm create` has left
  record.exit_code = 3;
  ASSERT_TRUE(store_->Add(record).has_value());
  EXPECT_EQ(store_->Load(record.id)->status(), Status::kCreated);

  std::ofstream(store_->SupervisorSocket(record.id)) << "of a supervisor that was killed";

  const auto claimed = store_->Claim(record.id);

  EXPECT_FALSE(fs::exists(store_->SupervisorSocket(record.id)));
  EXPECT_TRUE(fs::exists(store_->RunFolder(record.id)));
  ASSERT_TRUE(claimed.has_value()) << claimed.error().Message();
  EXPECT_EQ(claimed->status(), Status::kStarting);
  EXPECT_EQ(claimed->owner, *IdentifyProcess(::getpid()));
  EXPECT_EQ(claimed->exit_code, 0);
  EXPECT_EQ(*store_->Load(record.id), *claimed);
  EXPECT_THAT(store_->Claim(record.id).error().what, HasSubstr("is starting already"));
}

TEST_F(ContainerStoreTest, WhatARunIsAboutToStartCantBeClaimed) {
  const ContainerRecord record = Record("web");
  ASSERT_TRUE(store_->Add(record).has_value());
  EXPECT_THAT(store_->Claim(record.id).error().what, HasSubstr("by another command"));
}

TEST_F(ContainerStoreTest, WhatWaitsForItsRestartCantBeClaimed) {
  ContainerRecord record = Record("web");
  ASSERT_TRUE(store_->Add(record).has_value());
  ASSERT_TRUE(store_->Enter(record, Status::kStarting).has_value());
  ASSERT_TRUE(store_->Enter(record, Status::kRestarting).has_value());
  EXPECT_THAT(store_->Claim(record.id).error().what, HasSubstr("'web' is restarting already"));
}

TEST_F(ContainerStoreTest, ALongLifeKeepsItsFirstAndItsLastEvents) {
  ContainerRecord record = Record("web");
  ASSERT_TRUE(record.Enter(Status::kStarting).has_value());
  for (int round = 0; round < 100; ++round) {
    ASSERT_TRUE(record.Enter(Status::kRestarting).has_value());
    ASSERT_TRUE(record.Enter(Status::kStarting).has_value());
  }
  EXPECT_EQ(record.events.size(), ContainerRecord::kMaxEvents);
  EXPECT_EQ(record.events.front().status, Status::kCreated);
  EXPECT_EQ(record.status(), Status::kStarting);
}

TEST_F(ContainerStoreTest, AFinalStateNeedsNoOwner) {
  ContainerRecord record = Record();
  ASSERT_TRUE(store_->Add(record).has_value());
  for (const Status status : {Status::kStarting, Status::kRunning, Status::kStopped}) {
    ASSERT_TRUE(record.Enter(status).has_value());
  }
  record.exit_code = 3;
  record.owner = Dead();
  ASSERT_TRUE(store_->Save(record).has_value());
  EXPECT_EQ(*store_->Load(record.id), record);
}

TEST_F(ContainerStoreTest, DamagedStateIsToldAndCanBeRemoved) {
  const ContainerRecord record = Record();
  ASSERT_TRUE(store_->Add(record).has_value());
  const std::string good = EncodeContainerRecord(record);
  const std::string newer = [&] {
    std::string text = good;
    text.replace(text.find("\"version\": 1"), 12, "\"version\": 2");
    return text;
  }();
  for (const std::string& text : {std::string(), std::string("{}"), std::string("[1]"), good.substr(0, 100),
                                  newer, std::string("{\"version\": 1, \"events\": [{}]}")}) {
    WriteState(record.id, text);
    EXPECT_FALSE(store_->Load(record.id).has_value()) << text;
    const auto entries = store_->List();
    ASSERT_EQ(entries->size(), 1U) << text;
    EXPECT_NE(entries->front().problem, "") << text;
    EXPECT_EQ(entries->front().record.status(), Status::kFailed) << text;
  }
  WriteState(record.id, newer);
  EXPECT_THAT(store_->Load(record.id).error().what, HasSubstr("version 2"));

  EXPECT_TRUE(store_->FindEntry(record.id.substr(0, 12)).has_value());
  ASSERT_TRUE(store_->Remove(record.id).has_value());
  EXPECT_TRUE(store_->List()->empty());
}

TEST_F(ContainerStoreTest, EveryCutOfAStateFileIsAnErrorNotACrash) {
  const std::string good = EncodeContainerRecord(Record("web"));
  for (size_t size = 0; size + 2 < good.size(); ++size) {
    EXPECT_FALSE(DecodeContainerRecord(good.substr(0, size)).has_value()) << size;
  }
}

TEST_F(ContainerStoreTest, WhatKilledCommandsLeaveIsSwept) {
  const ContainerRecord gone = Record();
  fs::create_directories(folder_ + "/root/containers/.new-x");
  fs::create_directories(folder_ + "/root/containers/.gone-y");
  fs::create_directories(store_->RunFolder(gone.id));
  const ContainerRecord kept = Record();
  ASSERT_TRUE(store_->Add(kept).has_value());

  EXPECT_FALSE(fs::exists(folder_ + "/root/containers/.new-x"));
  EXPECT_FALSE(fs::exists(folder_ + "/root/containers/.gone-y"));
  EXPECT_FALSE(fs::exists(store_->RunFolder(gone.id)));
  EXPECT_TRUE(fs::exists(store_->RunFolder(kept.id)));
}

TEST_F(ContainerStoreTest, SweepTakesWhatKilledCommandsLeaveAndNothingElse) {
  const ContainerRecord kept = Record();
  ASSERT_TRUE(store_->Add(kept).has_value());
  const ContainerRecord gone = Record();
  fs::create_directories(folder_ + "/root/containers/.new-x");
  fs::create_directories(store_->RunFolder(gone.id));

  store_->Sweep();

  EXPECT_FALSE(fs::exists(folder_ + "/root/containers/.new-x"));
  EXPECT_FALSE(fs::exists(store_->RunFolder(gone.id)));
  EXPECT_TRUE(fs::exists(store_->RunFolder(kept.id)));
}

TEST_F(ContainerStoreTest, RemoveLeavesNoFile) {
  const ContainerRecord record = Record();
  ASSERT_TRUE(store_->Add(record).has_value());
  std::ofstream(store_->LogPath(record.id)) << "x";
  ASSERT_TRUE(store_->Remove(record.id).has_value());
  EXPECT_FALSE(fs::exists(store_->Folder(record.id)));
  EXPECT_FALSE(fs::exists(store_->RunFolder(record.id)));
  EXPECT_TRUE(store_->Remove(record.id).has_value()) << "again";
  EXPECT_THAT(Actions(), ElementsAre("created", "removed"));
}

TEST_F(ContainerStoreTest, WhatAnotherProcessHasStartedMeanwhileIsNotRemoved) {
  ContainerRecord record = Record("web");
  record.owner = {};
  ASSERT_TRUE(store_->Add(record).has_value());
  const pid_t starter = ::fork();
  if (starter == 0) {
    (void)store_->Claim(record.id);
    ::pause();
  }
  while (store_->Load(record.id)->status() != Status::kStarting) ::usleep(1000);

  const auto removed = store_->Remove(record.id);

  EXPECT_EQ(removed.error().code, EBUSY);
  EXPECT_THAT(removed.error().what, HasSubstr("'web' is starting: stop it first"));
  EXPECT_TRUE(fs::exists(store_->Folder(record.id)));
  EXPECT_TRUE(fs::exists(store_->RunFolder(record.id)));
  ::kill(starter, SIGKILL);
  ::waitpid(starter, nullptr, 0);
  EXPECT_TRUE(store_->Remove(record.id).has_value());
  EXPECT_THAT(store_->Claim(record.id).error().what, HasSubstr("has been removed meanwhile"));
}

TEST_F(ContainerStoreTest, OneThatGoesWithItsEndIsGoneBeforeItsMachineIs) {
  ContainerRecord record = Record();
  ASSERT_TRUE(store_->Add(record).has_value());
  ASSERT_TRUE(store_->Enter(record, Status::kStarting).has_value());

  ASSERT_TRUE(store_->EndAndRemove(record, Status::kStopped).has_value());

  EXPECT_EQ(store_->Load(record.id).error().code, ENOENT);
  EXPECT_TRUE(fs::exists(store_->RunFolder(record.id)));
  EXPECT_THAT(Actions(), ElementsAre("created", "starting", "stopped", "removed"));
  ASSERT_TRUE(store_->Remove(record.id).has_value());
  EXPECT_FALSE(fs::exists(store_->RunFolder(record.id)));
}

TEST_F(ContainerStoreTest, NewestFirst) {
  const ContainerRecord old = Record();
  const ContainerRecord young = Record();
  ASSERT_TRUE(store_->Add(young).has_value());
  ASSERT_TRUE(store_->Add(old).has_value());
  EXPECT_EQ(store_->List()->front().record.id, young.id);
}

TEST(ContainerNameTest, PlainWordsOnly) {
  for (const char* name : {"web", "a", "1", "A_b.c-d"})
    EXPECT_TRUE(CheckContainerName(name).has_value()) << name;
  for (const char* name : {"", "-ab", ".ab", "a b", "a/b", "a\n"}) {
    EXPECT_FALSE(CheckContainerName(name).has_value()) << name;
  }
}

TEST(ContainerRecordTest, IllegalStepsAreRefused) {
  ContainerRecord record = NewContainerRecord(NewContainerId(), "", {});
  EXPECT_FALSE(record.Enter(Status::kRunning).has_value());
  EXPECT_EQ(record.status(), Status::kCreated);
  EXPECT_EQ(record.name, record.id.substr(0, 12));
  EXPECT_EQ(record.EnteredUnixNs(Status::kRunning), 0);
  EXPECT_GT(record.EnteredUnixNs(Status::kCreated), 0);
}

}  // namespace
}  // namespace hmvm
