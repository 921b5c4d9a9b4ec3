#include "bench/hello.h"

#include <fcntl.h>
#include <signal.h>

#include <filesystem>

#include <gflags/gflags.h>

#include "base/file.h"
#include "base/process.h"

DEFINE_uint32(hello, 0, "boots of each VMM to the line of the smallest init, on the hardware platform");
DEFINE_string(hello_kernel, "",
              "kernel for --hello; on hosts whose KVM emulates ring 0 the variant emulated-ring0-test");

namespace hmvm::bench {
namespace {

constexpr double kNsPerMs = 1e6;

// Milliseconds from the start of `arguments` to "hello" on its standard output; the process is ended then.
double TimeToHello(const std::vector<std::string>& arguments) {
  auto pipe = MakePipe();
  if (!pipe.has_value()) Fail(pipe.error().Message());
  auto null = OpenFile("/dev/null", O_RDWR);
  if (!null.has_value()) Fail(null.error().Message());
  const int64_t start_ns = MonotonicNs();
  auto process = Process::Start({.arguments = arguments,
                                 .fds = {{null->get(), 0}, {pipe->write.get(), 1}, {null->get(), 2}},
                                 .die_with_parent = true});
  if (!process.has_value()) Fail(process.error().Message());
  pipe->write.reset();
  std::string output;
  char chunk[4096];
  ssize_t got;
  while (output.find("hello") == std::string::npos &&
         (got = ::read(pipe->read.get(), chunk, sizeof(chunk))) > 0) {
    output.append(chunk, static_cast<size_t>(got));
  }
  const int64_t end_ns = MonotonicNs();
  (void)process->Signal(SIGKILL);
  (void)process->Wait();
  if (output.find("hello") == std::string::npos) Fail("no hello from '" + arguments[0] + "', but: " + output);
  return static_cast<double>(end_ns - start_ns) / kNsPerMs;
}

}  // namespace

void BootToHello(uint32_t memory_mib, std::vector<Series>& table) {
  if (FLAGS_hello == 0) return;
  const std::string qemu = "/usr/bin/qemu-system-x86_64", kernel = FLAGS_hello_kernel;
  if (kernel.empty()) Fail("--hello needs --hello_kernel");
  char work[] = "/tmp/hmvm-bench-XXXXXX";
  if (::mkdtemp(work) == nullptr) Fail("mkdtemp");
  const std::string initrd = std::string(work) + "/hello.cpio";
  const auto packed = RunCommand(
      {"/bin/sh", "-c", "cd \"$1\" && cp \"$2\" init && echo init | cpio --quiet -o -H newc > \"$3\"", "sh",
       work, std::string(HMVM_BUILD_DIR) + "/bench/bench_hello", initrd});
  if (!packed.has_value() || packed->exit_code != 0) Fail("can't pack the init (package cpio)");
  const std::string line =
      "console=ttyS0 quiet panic=-1 reboot=k tsc=reliable noreplace-smp swiotlb=noforce"
      " mitigations=off rodata=off cgroup.memory=nokmem";
  Series ours("hmvm-vmm --platform=hardware, to hello", "ms"), theirs("QEMU microvm, to hello", "ms");
  for (unsigned i = 0; i < FLAGS_hello; ++i) {
    Progress("boot to hello " + std::to_string(i + 1) + " of " + std::to_string(FLAGS_hello));
    ours.Add(
        TimeToHello({std::string(HMVM_BUILD_DIR) + "/libexec/hmvm/hmvm-vmm", "--platform=hardware",
                     "--kernel=" + kernel, "--initrd=" + initrd, "--memory_mib=" + std::to_string(memory_mib),
                     "--console=fd:1", "--cmdline=" + line}));
    if (!std::filesystem::exists(qemu)) continue;
    theirs.Add(TimeToHello({qemu,
                            "-M",
                            "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,acpi=off",
                            "-enable-kvm",
                            "-cpu",
                            "host,-cx16,-arch-capabilities,-kvm-pv-unhalt,-kvm-pv-ipi,-kvm-pv-sched-yield",
                            "-m",
                            std::to_string(memory_mib),
                            "-nodefaults",
                            "-no-user-config",
                            "-display",
                            "none",
                            "-no-reboot",
                            "-serial",
                            "stdio",
                            "-kernel",
                            kernel,
                            "-initrd",
                            initrd,
                            "-append",
                            line}));
  }
  std::filesystem::remove_all(work);
  table.push_back(std::move(ours));
  table.push_back(std::move(theirs));
}

}  // namespace hmvm::bench
