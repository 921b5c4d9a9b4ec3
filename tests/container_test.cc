// What a container looks like from inside. One guest for all tests.
#include <sys/utsname.h>

#include <thread>

#include "tests/support/container_fixture.h"

namespace hmvm::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

TEST_F(ContainerTest, ExecHasOutputErrorAndExitCodeOfItsOwn) {
  const Outcome outcome = Exec({"sh", "-c", "echo out; echo err >&2; exit 42"});

  EXPECT_EQ(outcome.exit_code, 42);
  EXPECT_EQ(outcome.out, "out\n");
  EXPECT_EQ(outcome.err, "err\n");
}

TEST_F(ContainerTest, ExecGivesDockersExitCodesForCommandsThatCantRun) {
  EXPECT_EQ(Exec({"no-such-program"}).exit_code, 127);
  EXPECT_EQ(Exec({"/etc/passwd"}).exit_code, 126);
  EXPECT_EQ(Exec({"/bin"}).exit_code, 126);
  EXPECT_EQ(Exec({"sh", "-c", "kill -KILL $$"}).exit_code, 137);
  EXPECT_EQ(Exec({"sh", "-c", "kill -TERM $$"}).exit_code, 143);
}

TEST_F(ContainerTest, ExecPassesInputToItsEnd) {
  const Outcome outcome = ExecWith({"-i"}, {"sha256sum"}, std::string(100'000, 'x'));

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "d69e68988157833272305aaf21f453c800346e8a3640db6578e260215542e5d4  -\n");
}

TEST_F(ContainerTest, InputThatNobodyReadsDoesNotHang) {
  const Outcome outcome = ExecWith({"-i"}, {"true"}, std::string(4 << 20, 'x'));

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
}

TEST_F(ContainerTest, ExecOptionsShapeItsProcess) {
  const Outcome outcome = ExecWith({"-e", "A=one two", "-w", "/tmp", "-u", "1234:5678"},
                                   {"sh", "-c", "echo $A; pwd; id -u; id -g; id -G"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(outcome.out, "one two\n/tmp\n1234\n5678\n5678\n");
}

TEST_F(ContainerTest, SupplementaryGroupsComeFromTheImage) {
  // The group file is read when a process starts: the container's own, with what was written to it.
  Shell("grep -q '^extra:' /etc/group || echo 'extra:x:4242:daemon,nobody' >> /etc/group");

  const Outcome outcome = ExecWith({"-u", "daemon"}, {"sh", "-c", "id -u; id -g; id -G"});

  EXPECT_EQ(outcome.exit_code, 0) << Describe(outcome);
  EXPECT_EQ(outcome.out, "1\n1\n1 4242\n");
}

TEST_F(ContainerTest, ExecsRunBesideEachOther) {
  Outcome outcomes[4];
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&outcomes, i] {
      outcomes[i] =
          ExecWith({"-i"}, {"sh", "-c", "cat; exit " + std::to_string(i)}, "input " + std::to_string(i));
    });
  }
  for (std::thread& thread : threads) thread.join();

  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(outcomes[i].exit_code, i) << Describe(outcomes[i]);
    EXPECT_EQ(outcomes[i].out, "input " + std::to_string(i));
  }
}

TEST_F(ContainerTest, TheHostsProcessesAndFilesAreNotThere) {
  EXPECT_EQ(Shell("readlink /proc/1/exe"), "/bin/busybox");
  EXPECT_EQ(Shell("cat /proc/1/comm"), "sleep");
  EXPECT_NE(Shell("test -e /work && echo there; true"), "there");
}

TEST_F(ContainerTest, TheRootIsAnOverlayOfTheImage) {
  EXPECT_THAT(Shell("grep ' / ' /proc/mounts"), HasSubstr("overlay"));
  Shell("rm /bin/yes && mkdir /bin/yes && rmdir /bin/yes");
  EXPECT_EQ(Shell("ls /bin/yes 2>/dev/null; ls -d /bin/no* 2>/dev/null | grep -c yes; true"), "0");
}

TEST_F(ContainerTest, FileSystemsAreMountedAsTheRuntimeSpecificationSays) {
  const std::string mounts = Shell("cat /proc/mounts");

  EXPECT_THAT(mounts, ContainsRegex(" /proc proc rw,[a-z,]*nosuid,nodev,noexec"));
  EXPECT_THAT(mounts, ContainsRegex(" /sys sysfs ro,[a-z,]*nosuid,nodev,noexec"));
  EXPECT_THAT(mounts, ContainsRegex(" /dev tmpfs rw,[a-z,]*nosuid"));
  EXPECT_THAT(mounts, ContainsRegex(" /dev/pts devpts rw,[a-z,]*nosuid,noexec"));
  EXPECT_THAT(mounts, ContainsRegex(" /dev/shm tmpfs rw,[a-z,]*nosuid,nodev,noexec"));
  EXPECT_THAT(mounts, ContainsRegex(" /dev/mqueue mqueue rw,[a-z,]*nosuid,nodev,noexec"));
  EXPECT_THAT(mounts, ContainsRegex(" /sys/fs/cgroup cgroup2 ro,"));
}

TEST_F(ContainerTest, DevicesAreThoseOfTheRuntimeSpecification) {
  EXPECT_EQ(Shell("for d in null zero full random urandom tty; do test -c /dev/$d && echo -n $d' '; done"),
            "null zero full random urandom tty ");
  EXPECT_EQ(Shell("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done"),
            "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx");
  EXPECT_EQ(Shell("ls /dev | tr '\\n' ' '"),
            "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ");
  EXPECT_EQ(Shell("echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 16 /dev/urandom | wc -c"),
            "3\n16");
}

TEST_F(ContainerTest, PathsAreMaskedAndReadOnlyAsDockersAre) {
  EXPECT_EQ(Shell("cat /proc/kcore 2>/dev/null | head -c 1 | wc -c"), "0");
  EXPECT_EQ(Shell("cat /proc/timer_list /proc/keys 2>/dev/null | wc -c"), "0");
  EXPECT_EQ(Shell("ls /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v : | grep -c . ; true"), "0");
  EXPECT_EQ(Shell("for p in sys bus fs irq sysrq-trigger; do"
                  "  test -e /proc/$p && { touch /proc/$p 2>/dev/null; grep -q \" /proc/$p .* ro,\" "
                  "/proc/mounts || echo $p; };"
                  "done; true"),
            "");
  EXPECT_NE(Exec({"sh", "-c", "echo 1 > /proc/sys/kernel/panic"}).exit_code, 0);
}

TEST_F(ContainerTest, CapabilitiesAreDockersDefault) {
  // chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod
  // audit_write setfcap: capabilities(7) by number.
  constexpr const char* kDockers = "00000000a80425fb";
  const std::string status = Shell("grep Cap /proc/self/status");

  EXPECT_THAT(status, HasSubstr(std::string("CapPrm:\t") + kDockers));
  EXPECT_THAT(status, HasSubstr(std::string("CapEff:\t") + kDockers));
  EXPECT_THAT(status, HasSubstr(std::string("CapBnd:\t") + kDockers));
  EXPECT_THAT(status, HasSubstr("CapAmb:\t0000000000000000"));
  EXPECT_NE(Exec({"mount", "-t", "tmpfs", "none", "/mnt"}).exit_code, 0);
}

TEST_F(ContainerTest, AUserWithoutRootHasNoCapabilitiesInEffect) {
  const Outcome outcome = ExecWith({"-u", "nobody"}, {"grep", "CapEff", "/proc/self/status"});

  EXPECT_EQ(outcome.out, "CapEff:\t0000000000000000\n");
}

TEST_F(ContainerTest, AUserWithoutRootMayListenOnLowPortsAndPing) {
  const Outcome served = ExecWith({"-u", "nobody"}, {"sh", "-c",
                                                     "httpd -p 127.0.0.1:80 -h /etc && wget -q -O - "
                                                     "http://127.0.0.1/hostname; killall httpd"});

  EXPECT_EQ(served.out, Shell("hostname") + "\n") << Describe(served);
  // busybox's ping asks for root before it tries.
  EXPECT_EQ(Shell("cat /proc/sys/net/ipv4/ping_group_range"), "0\t2147483647");
}

TEST_F(ContainerTest, NamespacesAreTheContainersOwn) {
  EXPECT_EQ(Shell("ps | grep -c ' sleep 1000000$'"), "1");
  EXPECT_EQ(Shell("test $(readlink /proc/self/ns/pid) = $(readlink /proc/1/ns/pid) && echo same"), "same");
  EXPECT_EQ(Shell("cat /proc/self/cgroup"), "0::/");
  EXPECT_EQ(Shell("ipcs -q | grep -c 0x; true"), "0");
}

TEST_F(ContainerTest, OrphansAreReaped) {
  // Children whose parent ends first go to the container's pid 1, which is a plain sleep and reaps nothing;
  // an exec's own children must not stay behind as zombies of the agent.
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Exec({"true"}).exit_code, 0);

  EXPECT_EQ(Shell("ps -o stat,comm | grep -c '^Z.*true'; true"), "0");
}

TEST_F(ContainerTest, TheClockIsTheHosts) {
  const int64_t before = std::time(nullptr);
  const int64_t guest = std::stoll(Shell("date +%s"));
  const int64_t after = std::time(nullptr);

  EXPECT_GE(guest, before - 1);
  EXPECT_LE(guest, after + 1);
}

TEST_F(ContainerTest, EnvironmentHasTheDefaults) {
  const std::string env = Shell("env");

  EXPECT_THAT(env, HasSubstr("PATH=/"));
  EXPECT_THAT(env, HasSubstr("HOME=/root"));
  EXPECT_THAT(env, HasSubstr("HOSTNAME="));
}

TEST_F(ContainerTest, ExecInADeadOrUnknownContainerIsRefused) {
  const Outcome outcome = sandbox_->Hmvm({"exec", "nobody-made-this", "true"});

  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("nobody-made-this"));
}

}  // namespace
}  // namespace hmvm::test
