// From the start of a VMM process to the first sign of life of its guest: hmvm-vmm to the agent's first
// answer, and, with --hello, hmvm-vmm and QEMU's microvm machine to the first line of the same init under the
// same kernel.
#include <fcntl.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>

#include <gflags/gflags.h>

#include "base/file.h"
#include "bench/measure.h"
#include "tests/support/machine.h"

DEFINE_uint32(count, 30, "boots to the agent's answer");
DEFINE_uint32(memory_mib, 128, "guest memory");
DEFINE_string(platform, "auto", "auto, hardware or ring3");
DEFINE_string(kernel, "", "default: the kernel of the build");
DEFINE_uint32(hello, 0, "boots of each VMM to the line of the smallest init, on the hardware platform");
DEFINE_string(hello_kernel, "",
              "kernel for --hello; on hosts whose KVM emulates ring 0 the variant emulated-ring0-test");

namespace hmvm::bench {
namespace {

constexpr double kNsPerMs = 1e6;

std::string BuildPath(const std::string& name) { return std::string(HMVM_BUILD_DIR) + "/" + name; }

void BootToAgent(std::vector<Series>& table) {
  Series wall("hmvm: start to the agent's answer", "ms"),
      vmm("  of it the VMM's set-up: main() to the first KVM_RUN", "ms"),
      guest("  of it the guest, by its own clock", "ms"), cpu("processor time, VMM and guest", "ms");
  std::string platform;
  for (unsigned i = 0; i < FLAGS_count; ++i) {
    Progress("boot " + std::to_string(i + 1) + " of " + std::to_string(FLAGS_count));
    test::Machine::Options options;
    options.vmm = BuildPath("libexec/hmvm/hmvm-vmm");
    options.kernel = FLAGS_kernel.empty() ? BuildPath("share/hmvm/vmlinux") : FLAGS_kernel;
    options.initramfs = BuildPath("share/hmvm/initramfs.cpio");
    options.memory_mib = FLAGS_memory_mib;
    options.platform = FLAGS_platform;
    const int64_t start_ns = MonotonicNs();
    Result<test::Machine> machine = test::Machine::Start(options);
    if (!machine.has_value()) Fail(machine.error().Message());
    const auto agent = machine->Agent<agent::v1::DescribeResponse>("Describe", agent::v1::DescribeRequest());
    const int64_t ready_ns = MonotonicNs();
    const int64_t cpu_ns = CpuTimeNs(machine->pid());
    if (!agent.has_value()) Fail("the agent does not answer: " + agent.error().Message());
    const auto described =
        machine->Control<vmm::v1::DescribeResponse>("Describe", vmm::v1::DescribeRequest());
    if (!described.has_value()) Fail("the VMM does not answer: " + described.error().Message());
    wall.Add(static_cast<double>(ready_ns - start_ns) / kNsPerMs);
    vmm.Add(static_cast<double>(described->running_monotonic_ns() - described->started_monotonic_ns()) /
            kNsPerMs);
    guest.Add(static_cast<double>(agent->ready_monotonic_ns()) / kNsPerMs);
    cpu.Add(static_cast<double>(cpu_ns) / kNsPerMs);
    platform = described->platform();
    machine->Stop();
  }
  std::printf("platform: %s, %u MiB, 1 vCPU\n", platform.c_str(), FLAGS_memory_mib);
  for (Series* series : {&wall, &vmm, &guest, &cpu}) table.push_back(std::move(*series));
}

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

void BootToHello(std::vector<Series>& table) {
  const std::string qemu = "/usr/bin/qemu-system-x86_64", kernel = FLAGS_hello_kernel;
  if (kernel.empty()) Fail("--hello needs --hello_kernel");
  char work[] = "/tmp/hmvm-bench-XXXXXX";
  if (::mkdtemp(work) == nullptr) Fail("mkdtemp");
  const std::string initrd = std::string(work) + "/hello.cpio";
  const auto packed = RunCommand(
      {"/bin/sh", "-c", "cd \"$1\" && cp \"$2\" init && echo init | cpio --quiet -o -H newc > \"$3\"", "sh",
       work, BuildPath("bench/bench_hello"), initrd});
  if (!packed.has_value() || packed->exit_code != 0) Fail("can't pack the init (package cpio)");
  const std::string line =
      "console=ttyS0 quiet panic=-1 reboot=k tsc=reliable noreplace-smp swiotlb=noforce"
      " mitigations=off rodata=off cgroup.memory=nokmem";
  Series ours("hmvm-vmm --platform=hardware, to hello", "ms"), theirs("QEMU microvm, to hello", "ms");
  for (unsigned i = 0; i < FLAGS_hello; ++i) {
    Progress("boot to hello " + std::to_string(i + 1) + " of " + std::to_string(FLAGS_hello));
    ours.Add(TimeToHello({BuildPath("libexec/hmvm/hmvm-vmm"), "--platform=hardware", "--kernel=" + kernel,
                          "--initrd=" + initrd, "--memory_mib=" + std::to_string(FLAGS_memory_mib),
                          "--console=fd:1", "--cmdline=" + line}));
    if (!std::filesystem::exists(qemu)) continue;
    theirs.Add(TimeToHello({qemu,
                            "-M",
                            "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,acpi=off",
                            "-enable-kvm",
                            "-cpu",
                            "host,-cx16,-arch-capabilities,-kvm-pv-unhalt,-kvm-pv-ipi,-kvm-pv-sched-yield",
                            "-m",
                            std::to_string(FLAGS_memory_mib),
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

}  // namespace

void Main(const std::vector<std::string>&) {
  PrintMachine("bench/boot");
  std::vector<Series> table;
  if (FLAGS_count > 0) BootToAgent(table);
  if (FLAGS_hello > 0) BootToHello(table);
  std::vector<const Series*> rows;
  for (const Series& series : table) rows.push_back(&series);
  PrintTable(rows);
}

}  // namespace hmvm::bench
