// Independent programs as judges: Debian's bash, coreutils, perl and python3 run in the guest and under runc
// on the same root file system, and must say the same, byte for byte.
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/side_by_side.h"

namespace hmvm::test {
namespace {

struct Task {
  const char* name;
  std::vector<std::string> command;
};

// For failures: the task's name, not its bytes.
void PrintTo(const Task& task, std::ostream* out) { *out << task.name; }

std::vector<std::string> Bash(const char* script) { return {"bash", "-c", script}; }
std::vector<std::string> Perl(const char* script) { return {"perl", "-e", script}; }
std::vector<std::string> Python(const char* script) { return {"python3", "-c", script}; }

std::vector<Task> Tasks() {
  return {
      // The image itself: every file's kind, mode, owner, links, size, target and time, and every byte.
      {"ImageMetadata",
       Bash("find / -xdev \\( -path /dev -o -path /proc -o -path /sys -o -path /run -o -path /tmp"
            " -o -path /root -o -path /etc/hosts -o -path /etc/hostname -o -path /etc/resolv.conf"
            " -o -path /etc/machine-id \\)"
            " -prune -o \\( -type d -printf '%p %y %m %U %G\\n' -o"
            " -printf '%p %y %m %U %G %n %s %l %T@\\n' \\) | grep -v '^/ \\|^/etc ' | sort")},
      {"ImageContents",
       Bash("find /usr /var /opt -xdev -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum")},

      {"BashArithmetic", Bash("echo $((2**62 + 7)) $((-7 % 3)) $((1 << 40)); for ((i = 0; i < 2000; i++)); "
                              "do :; done; echo $i")},
      {"BashText",
       Bash("s=microvm; echo ${s^^} ${s:2:3} ${s/vm/VM} ${#s}; printf '%05d|%-8s|%x|%.3f\\n' 42 left 255 "
            "3.14159;"
            " cat <<< 'here string'; declare -A m=([b]=2 [a]=1); for k in a b; do echo $k=${m[$k]}; done")},
      {"BashProcesses",
       Bash("diff <(seq 1 5) <(seq 2 6); seq 1 100000 | tail -n 1; (exit 7); echo $?; false | true; echo "
            "${PIPESTATUS[@]};"
            " for i in {1..50}; do (echo $i) & done | sort -n | tail -n 2; wait; echo done")},
      {"BashSignals",
       Bash("ulimit -c 0; exec 2> /dev/null; trap 'echo usr1' USR1; kill -USR1 $$; for s in TERM SEGV KILL "
            "ABRT FPE; do"
            " bash -c 'kill -'$s' $$'; echo $s $?; done; sleep 100 & kill %1; wait %1; echo $?")},
      {"BashFiles",
       Bash("cd /tmp && mkdir d && cd d && umask 027 && touch a && ln a b && ln -s a c && mkfifo p && chmod "
            "4755 a &&"
            " stat -c '%n %F %a %h %U %G' a b c p && mv a e && cat c; ls; (echo through > p &) ; cat p;"
            " exec 9>lock; flock -n 9 && echo locked; flock -n lock true || echo held; cd /tmp; rm -r d; ls "
            "-d d")},
      {"Errors", Bash("cat /nowhere; mkdir /proc/x; echo 1 > /sys/kernel/x; mount -t tmpfs none /mnt; cd "
                      "/etc/passwd; ls /root/none;"
                      " kill -0 99999; rmdir /usr; ln -s loop /tmp/loop; cat /tmp/loop; rm /tmp/loop; chroot "
                      "/nowhere; true")},
      {"Devices", Bash("head -c 5 /dev/zero | od -An -tx1; head -c 1000 /dev/urandom | wc -c; echo x > "
                       "/dev/full; echo lost > /dev/null;"
                       " stat -c '%n %F %t %T %a' /dev/null /dev/zero /dev/full /dev/random /dev/urandom "
                       "/dev/tty; ls -l /dev/fd | grep -c self;"
                       " test -t 0; echo $?; mknod /tmp/n c 1 3 && stat -c '%F %t %T' /tmp/n; rm /tmp/n")},
      {"User",
       Bash("id; groups; whoami; pwd; echo $HOME; umask; hostname; chown nobody:nogroup /mnt && stat -c '%U "
            "%G' /mnt;"
            " chown root:root /mnt; grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Groups' /proc/self/status")},
      {"Coreutils", Bash("seq 1 20000 | shuf --random-source=/usr/bin/perl | sort -n | sha256sum; factor "
                         "18446744073709551557 600851475143;"
                         " seq 1 1000 | split -l 100 - /tmp/part && cat /tmp/part* | cksum; rm /tmp/part*; "
                         "date -u -d @1700000000 -Is;"
                         " numfmt --to=iec 123456789; yes | head -n 100000 | uniq -c; tr a-z A-Z <<< abc | "
                         "rev; echo test | base64;"
                         " b2sum /usr/bin/bash; paste <(seq 3) <(seq 4 6) | tac; timeout 0.2 sleep 10; echo "
                         "$?; nproc --all > /dev/null;"
                         " dd if=/dev/zero bs=1M count=20 status=none | md5sum; truncate -s 1G /tmp/sparse; "
                         "stat -c %s /tmp/sparse; rm /tmp/sparse;"
                         " touch -d '2001-02-03 04:05:06.789 UTC' /tmp/t; stat -c %Y /tmp/t; rm /tmp/t; expr "
                         "length hello; comm -12 <(seq 5) <(seq 3 9)")},
      {"Dpkg", Bash("dpkg -l | sha256sum; dpkg --print-architecture; dpkg -S /usr/bin/bash; dpkg --verify "
                    "coreutils bash perl-base; apt-get --version | head -n 1")},
      {"Tar", Bash("cd /tmp && tar --sort=name -cf - -C /usr share/perl5 | sha256sum; tar -czf x.tgz -C /etc "
                   "default apt && tar -tzf x.tgz | wc -l;"
                   " mkdir x && tar -xzf x.tgz -C x && find x | wc -l; diff -r x/default /etc/default && "
                   "echo same; rm -r x x.tgz")},

      {"PerlText",
       Perl("my %h; $h{$_ % 97} .= chr(65 + $_ % 26) for 1..5000; print join(',', map { \"$_=$h{$_}\" } sort "
            "{ $a <=> $b } keys %h), \"\\n\";"
            "my $t = 'the quick brown fox ' x 1000; my $n = () = $t =~ /\\b(\\w)\\w*\\b/g; print \"$n\\n\";"
            "printf '%s %.15g %e %b'.\"\\n\", 'x' x 10, atan2(1, 1) * 4, 12345.678, 10; print unpack('H*', "
            "pack('NnCd>', 1, 2, 3, 1.5)), \"\\n\"")},
      {"PerlProcesses", Perl("$| = 1; pipe(my $r, my $w); my $p = fork; if (!$p) { close $r; print $w \"from "
                             "child $_\\n\" for 1..1000; exit 9 }"
                             "close $w; my $n = 0; $n++ while <$r>; waitpid $p, 0; print \"$n lines, status "
                             "\", $? >> 8, \"\\n\";"
                             "$SIG{ALRM} = sub { die \"alarm\\n\" }; eval { alarm 1; select undef, undef, "
                             "undef, 60 }; print \"got $@\";"
                             "print `echo from a shell`; system 'exit 3'; print $? >> 8, \"\\n\"")},
      {"PerlSockets", Perl("use Socket; socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or die; syswrite "
                           "$a, 'ping'; sysread $b, my $x, 10; print \"$x\\n\";"
                           "socket(my $s, PF_INET, SOCK_STREAM, 0) or die; bind $s, sockaddr_in(0, "
                           "INADDR_LOOPBACK) or die \"bind: $!\"; listen $s, 1 or die;"
                           "my ($port) = sockaddr_in(getsockname $s); if (!fork) { socket(my $c, PF_INET, "
                           "SOCK_STREAM, 0); connect $c, sockaddr_in($port, INADDR_LOOPBACK)"
                           " or die \"connect: $!\"; syswrite $c, 'over tcp'; exit } accept my $n, $s or "
                           "die; sysread $n, $x, 100; print \"$x\\n\"; wait")},

      {"PythonNumbers",
       Python("import math, struct, random\nprint(math.factorial(300) % (10**9 + 7), 2**500)\n"
              "print(sum(math.sin(i) * math.sqrt(i) for i in range(20000)), math.fsum([0.1] * 10))\n"
              "random.seed(7)\nprint([random.random() for _ in range(5)], struct.pack('<dIh', 1.1, 7, "
              "-2).hex())\n"
              "print(sorted((hash(float(i)) * 2654435761) % 1000 for i in range(2000))[::100])")},
      {"PythonProcesses",
       Python("import os, subprocess, threading, signal\n"
              "r, w = os.pipe()\npid = os.fork()\nif pid == 0:\n os.write(w, b'child'); os._exit(5)\n"
              "print(os.waitpid(pid, 0)[1] >> 8, os.read(r, 10))\n"
              "print(subprocess.run(['sh', '-c', 'echo out; echo err >&2; exit 4'], capture_output=True))\n"
              "total = []\nlock = threading.Lock()\n"
              "def work(n):\n for i in range(1000):\n  with lock: total.append(n)\n"
              "t = [threading.Thread(target=work, args=(n,)) for n in range(8)]\n[x.start() for x in "
              "t]\n[x.join() for x in t]\n"
              "print(len(total), sum(total))\nsignal.signal(signal.SIGUSR1, lambda s, f: print('signal', "
              "s))\nos.kill(os.getpid(), signal.SIGUSR1)\n"
              "try:\n 1 / 0\nexcept ZeroDivisionError as e:\n print(e)")},
      {"PythonFiles",
       Python("import os\nf = open('/tmp/py', 'wb+')\n[f.write(bytes([i % 251]) * 4096) for i in "
              "range(500)]\nf.flush(); os.fsync(f.fileno())\n"
              "f.seek(1000000); print(f.read(8).hex(), os.fstat(f.fileno()).st_size)\nos.truncate('/tmp/py', "
              "10)\nprint(os.stat('/tmp/py').st_size)\n"
              "os.rename('/tmp/py', '/tmp/py2'); print(os.path.exists('/tmp/py')); os.unlink('/tmp/py2')\n"
              "print(sorted(os.listdir('/etc'))[:5], oct(os.stat('/usr/bin/passwd').st_mode), "
              "os.readlink('/bin'))\n"
              "try:\n os.setxattr('/tmp', 'user.x', b'1')\nexcept OSError as e:\n pass\n"
              "try:\n open('/proc/sys/kernel/hostname', 'w')\nexcept OSError as e:\n print(e)")},
      {"PythonMemory", Python("b = bytearray(100 << 20)\nfor i in range(0, len(b), 4096): b[i] = i >> 12 & "
                              "255\nprint(sum(b[::4096]))\n"
                              "s = ''.join(chr(97 + i % 26) for i in range(300000))\nprint(len(s), "
                              "s.count('abc'), s[::50000])")},
  };
}

class DebianTest : public testing::TestWithParam<Task> {
 protected:
  static void SetUpTestSuite() {
    if (!SideBySide::WhyNot().empty()) return;
    both_ = std::make_unique<SideBySide>();
    both_->StartRunc("small");
    both_->StartGuest("judge", {"-m", "1g"});
  }
  static void TearDownTestSuite() { both_.reset(); }
  void SetUp() override {
    if (const std::string why = SideBySide::WhyNot(); !why.empty())
      GTEST_SKIP() << "can't compare with runc: " << why;
  }

  static std::unique_ptr<SideBySide> both_;
};
std::unique_ptr<SideBySide> DebianTest::both_;

TEST_P(DebianTest, SaysWhatItSaysUnderRunc) {
  const Outcome runc = both_->UnderRunc(GetParam().command);
  const Outcome guest = both_->InGuest("judge", GetParam().command);

  EXPECT_EQ(guest.exit_code, runc.exit_code);
  EXPECT_EQ(guest.out, runc.out);
  EXPECT_EQ(guest.err, runc.err);
}
INSTANTIATE_TEST_SUITE_P(Programs, DebianTest, testing::ValuesIn(Tasks()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace

}  // namespace hmvm::test
