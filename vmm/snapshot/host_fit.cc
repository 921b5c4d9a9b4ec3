#include "vmm/snapshot/host_fit.h"

#include <cpuid.h>
#include <dirent.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"

namespace hmvm {
namespace {

snapshot::CpuidLeaf ReadLeaf(uint32_t leaf, uint32_t subleaf) {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
  __cpuid_count(leaf, subleaf, eax, ebx, ecx, edx);
  snapshot::CpuidLeaf read;
  read.set_leaf(leaf);
  read.set_subleaf(subleaf);
  read.set_eax(eax);
  read.set_ebx(ebx);
  read.set_ecx(ecx);
  read.set_edx(edx);
  return read;
}

// Vendor, features, layout of the XSAVE area: what programs see natively.
void ReadNativeLeaves(snapshot::HostFit& fit) {
  constexpr struct {
    uint32_t leaf, subleaf;
  } kLeaves[] = {{0, 0},   {1, 0},   {7, 0},   {7, 1},   {0xd, 0},        {0xd, 1},       {0xd, 2},
                 {0xd, 5}, {0xd, 6}, {0xd, 7}, {0xd, 9}, {0x80000001, 0}, {0x80000008, 0}};
  const uint32_t last = __get_cpuid_max(0, nullptr);
  for (const auto& [leaf, subleaf] : kLeaves) {
    if (leaf < 0x80000000 && leaf > last) continue;
    snapshot::CpuidLeaf& read = *fit.add_cpuid();
    read = ReadLeaf(leaf, subleaf);
    // The number of the processor that happened to answer; the size for what is switched on just now.
    if (leaf == 1) read.set_ebx(read.ebx() & 0x00ffffff);
    if (leaf == 0xd && subleaf <= 1) read.set_ebx(0);
    if (leaf == 0x80000008) read.set_ecx(0);
  }
}

// What KVM lets a vCPU have, but for the numbers of processors.
Result<> ReadKvmLeaves(const Kvm& kvm, snapshot::HostFit& fit) {
  HMVM_TRY_ASSIGN(const std::vector<kvm_cpuid_entry2> entries, kvm.SupportedCpuid());
  for (const kvm_cpuid_entry2& entry : entries) {
    if (entry.function == 0xb || entry.function == 0x1f || entry.function == 0x8000001e) continue;
    snapshot::CpuidLeaf& leaf = *fit.add_cpuid();
    leaf.set_leaf(entry.function);
    leaf.set_subleaf(entry.index);
    leaf.set_eax(entry.eax);
    leaf.set_ebx(entry.function == 1 ? entry.ebx & 0x00ffffff : entry.ebx);
    leaf.set_ecx(entry.ecx);
    leaf.set_edx(entry.edx);
  }
  return {};
}

std::string BrandString() {
  char name[48] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const snapshot::CpuidLeaf leaf = ReadLeaf(0x80000002 + i, 0);
    const uint32_t words[] = {leaf.eax(), leaf.ebx(), leaf.ecx(), leaf.edx()};
    std::memcpy(name + i * sizeof(words), words, sizeof(words));
  }
  const std::string text(name, ::strnlen(name, sizeof(name)));
  const size_t end = text.find_last_not_of(' ');
  return end == std::string::npos ? "" : text.substr(0, end + 1);
}

std::string Hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%x", value);
  return text;
}

}  // namespace

// The boot's id, and of each of KVM's modules the inode of its folder in sysfs, which is a new one when a
// module is loaded anew.
std::string KvmInstance() {
  const auto boot_id = ReadFile("/proc/sys/kernel/random/boot_id", 64);
  const std::unique_ptr<DIR, int (*)(DIR*)> modules(::opendir("/sys/module"), ::closedir);
  if (!boot_id.has_value() || modules == nullptr) return "";
  std::vector<std::string> loaded;
  while (const dirent* entry = ::readdir(modules.get())) {
    const std::string name = entry->d_name;
    if (name.starts_with("kvm")) loaded.push_back(name + "=" + std::to_string(entry->d_ino));
  }
  if (loaded.empty()) return "";
  std::ranges::sort(loaded);
  std::string instance = boot_id->substr(0, boot_id->find('\n'));
  for (const std::string& module : loaded) instance += " " + module;
  return instance;
}

Result<snapshot::HostFit> ReadHostFit(const Kvm& kvm, std::string kvm_instance, std::string_view platform) {
  snapshot::HostFit fit;
  if (platform == "hardware") {
    HMVM_TRY(ReadKvmLeaves(kvm, fit));
  } else {
    ReadNativeLeaves(fit);
  }
  fit.set_cpu_name(BrandString());
  fit.set_cpu_signature(ReadLeaf(1, 0).eax());
  uint32_t low = 0;
  uint32_t high = 0;
  if ((ReadLeaf(1, 0).ecx() >> 27 & 1) != 0) asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));  // OSXSAVE
  fit.set_xcr0(uint64_t{high} << 32 | low);
  fit.set_xsave_bytes(static_cast<uint32_t>(kvm.Capability(KVM_CAP_XSAVE2)));
  utsname name;
  if (::uname(&name) == 0) fit.set_kernel_release(name.release);
  fit.set_kvm_instance(std::move(kvm_instance));
  return fit;
}

Result<> CheckHostFit(const snapshot::HostFit& saved, const snapshot::HostFit& here) {
  const std::string context =
      "it was made on CPU '" + saved.cpu_name() + "', this is '" + here.cpu_name() + "': ";
  if (saved.cpu_signature() != here.cpu_signature()) {
    return Error{
        0, context + "signature " + Hex(saved.cpu_signature()) + " in place of " + Hex(here.cpu_signature())};
  }
  if (saved.cpuid_size() != here.cpuid_size()) return Error{0, context + "other CPUID leaves"};
  for (int i = 0; i < saved.cpuid_size(); ++i) {
    if (saved.cpuid(i).SerializeAsString() == here.cpuid(i).SerializeAsString()) continue;
    return Error{0, context + "CPUID leaf " + Hex(saved.cpuid(i).leaf()) + " is different"};
  }
  if (saved.xcr0() != here.xcr0() || saved.xsave_bytes() != here.xsave_bytes()) {
    return Error{0, context + "the host saves other registers (XCR0)"};
  }
  return {};
}

}  // namespace hmvm
