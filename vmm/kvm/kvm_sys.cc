#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <mutex>

#include "base/file.h"
#include "security/fd_class.h"
#include "vmm/kvm/kvm.h"

namespace hmvm {
namespace {

// Wakes a vCPU thread out of KVM_RUN; the handler does nothing, its arrival is the message.
const int kKickSignal = SIGRTMIN;

template <typename Argument>
Result<int> TypedIoctl(int fd, unsigned long request, Argument argument, const char* name) {
  const int value = ::ioctl(fd, request, argument);
  if (value < 0) return Error{errno, name};
  return value;
}

// The heads of kvm_cpuid2 and kvm_msrs, and kvm_xsave, whose flexible array members make the UAPI's
// structures larger in C++ than in C, and with them the ioctls' numbers.
struct CpuidHeader {
  uint32_t nent;
  uint32_t padding;
};
struct MsrsHeader {
  uint32_t nmsrs;
  uint32_t padding;
};
struct XsavePage {
  std::byte bytes[4096];
};
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, CpuidHeader);
constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, MsrsHeader);
constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, uint32_t);
constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, MsrsHeader);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, CpuidHeader);
constexpr unsigned long kGetXsave = _IOR(KVMIO, 0xa4, XsavePage);
constexpr unsigned long kSetXsave = _IOW(KVMIO, 0xa5, XsavePage);
constexpr unsigned long kGetXsave2 = _IOR(KVMIO, 0xcf, XsavePage);

// A header with its entries behind it.
template <typename Header, typename Entry>
class WithEntries {
 public:
  explicit WithEntries(size_t count) : storage_(sizeof(Header) + count * sizeof(Entry)) {}
  // SAFETY: operator new[] aligns storage_ for both types and its size covers the header and all entries.
  Header* header() { return reinterpret_cast<Header*>(storage_.data()); }
  Entry* entries() { return reinterpret_cast<Entry*>(storage_.data() + sizeof(Header)); }

 private:
  std::vector<std::byte> storage_;
};

}  // namespace

Result<Kvm> Kvm::Open(const std::string& path) {
  HMVM_TRY_ASSIGN(UniqueFd fd, OpenArgument(path, O_RDWR));
  HMVM_TRY_ASSIGN(const int version, TypedIoctl(fd.get(), KVM_GET_API_VERSION, 0, "KVM_GET_API_VERSION"));
  if (version != KVM_API_VERSION)
    return Error{0, "KVM API version " + std::to_string(version) + " is not 12"};
  HMVM_TRY_ASSIGN(const int bytes, TypedIoctl(fd.get(), KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE"));
  HMVM_TRY_ASSIGN(UniqueFd placed, Place(fd_class::kKvm, std::move(fd)));
  return Kvm(std::move(placed), static_cast<size_t>(bytes));
}

int Kvm::Capability(int capability) const {
  const int value = ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, capability);
  return value < 0 ? 0 : value;
}

Result<std::vector<kvm_cpuid_entry2>> Kvm::SupportedCpuid() const {
  constexpr uint32_t kMaxEntries = 256;
  WithEntries<CpuidHeader, kvm_cpuid_entry2> cpuid(kMaxEntries);
  cpuid.header()->nent = kMaxEntries;
  HMVM_TRY(TypedIoctl(fd_.get(), kGetSupportedCpuid, cpuid.header(), "KVM_GET_SUPPORTED_CPUID"));
  return std::vector(cpuid.entries(), cpuid.entries() + cpuid.header()->nent);
}

Result<std::vector<uint32_t>> Kvm::MsrIndices() const {
  constexpr uint32_t kMaxIndices = 4096;
  std::vector<uint32_t> list(1 + kMaxIndices);  // the count, then the indices
  list[0] = kMaxIndices;
  HMVM_TRY(TypedIoctl(fd_.get(), kGetMsrIndexList, list.data(), "KVM_GET_MSR_INDEX_LIST"));
  return std::vector(list.begin() + 1, list.begin() + 1 + list[0]);
}

Result<Vm> Kvm::CreateVm() const {
  // KVM answers EINTR when a signal comes while it sets up; that is no failure.
  for (;;) {
    auto fd = TypedIoctl(fd_.get(), KVM_CREATE_VM, 0, "KVM_CREATE_VM");
    if (!fd.has_value() && fd.error().code == EINTR) continue;
    HMVM_TRY(fd);
    HMVM_TRY_ASSIGN(UniqueFd placed, Place(fd_class::kVm, UniqueFd(*fd)));
    return Vm(std::move(placed), vcpu_mapping_bytes_);
  }
}

int Vm::Capability(int capability) const {
  const int value = ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, capability);
  return value < 0 ? 0 : value;
}

Result<> Vm::SetMemory(uint32_t slot, uint64_t address, std::span<std::byte> host, uint32_t flags) const {
  kvm_userspace_memory_region region = {.slot = slot,
                                        .flags = flags,
                                        .guest_phys_addr = address,
                                        .memory_size = host.size(),
                                        .userspace_addr = reinterpret_cast<uint64_t>(host.data())};
  HMVM_TRY(Ioctl(KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION"));
  return {};
}

Result<> Vm::CollectWritten(uint32_t slot, std::span<uint64_t> bits) const {
  kvm_dirty_log log = {};
  log.slot = slot;
  log.dirty_bitmap = bits.data();
  HMVM_TRY(Ioctl(KVM_GET_DIRTY_LOG, &log, "KVM_GET_DIRTY_LOG"));
  return {};
}

Result<Vcpu> Vm::CreateVcpu(uint32_t index) const {
  HMVM_TRY_ASSIGN(const int number, TypedIoctl(fd_.get(), KVM_CREATE_VCPU, index, "KVM_CREATE_VCPU"));
  HMVM_TRY_ASSIGN(UniqueFd fd, Place(fd_class::kVcpus, UniqueFd(number)));
  HMVM_TRY_ASSIGN(Mapping mapping,
                  Mapping::OfFile(fd.get(), vcpu_mapping_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED));
  const auto xsave_bytes = static_cast<size_t>(Capability(KVM_CAP_XSAVE2));  // 0 on KVMs before it
  return Vcpu(std::move(fd), std::move(mapping), index, xsave_bytes);
}

Result<> Vm::CreateIrqchip() const {
  // Three pages and one below 4 GiB that no RAM or device uses; Intel hosts without unrestricted guest need
  // them.
  constexpr uint64_t kTssAddress = 0xfffbd000;
  uint64_t identity_map_address = kTssAddress - 0x1000;
  HMVM_TRY(TypedIoctl(fd_.get(), KVM_SET_TSS_ADDR, kTssAddress, "KVM_SET_TSS_ADDR"));
  HMVM_TRY(Ioctl(KVM_SET_IDENTITY_MAP_ADDR, &identity_map_address, "KVM_SET_IDENTITY_MAP_ADDR"));
  HMVM_TRY(Ioctl(KVM_CREATE_IRQCHIP, nullptr, "KVM_CREATE_IRQCHIP"));
  kvm_pit_config pit = {};
  pit.flags = KVM_PIT_SPEAKER_DUMMY;
  HMVM_TRY(Ioctl(KVM_CREATE_PIT2, &pit, "KVM_CREATE_PIT2"));
  return {};
}

Result<> Vm::AddIrqfd(int eventfd, uint32_t gsi) const {
  kvm_irqfd irqfd = {};
  irqfd.fd = static_cast<uint32_t>(eventfd);
  irqfd.gsi = gsi;
  HMVM_TRY(Ioctl(KVM_IRQFD, &irqfd, "KVM_IRQFD"));
  return {};
}

Result<> Vm::AddIoeventfd(int eventfd, uint64_t address, uint32_t data) const {
  kvm_ioeventfd ioeventfd = {};
  ioeventfd.datamatch = data;
  ioeventfd.addr = address;
  ioeventfd.len = sizeof(data);
  ioeventfd.fd = eventfd;
  ioeventfd.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
  HMVM_TRY(Ioctl(KVM_IOEVENTFD, &ioeventfd, "KVM_IOEVENTFD"));
  return {};
}

Result<int> Vm::Ioctl(unsigned long request, void* argument, const char* name) const {
  return TypedIoctl(fd_.get(), request, argument, name);
}

Result<bool> Vcpu::Run() {
  if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) return true;
  if (errno != EINTR && errno != EAGAIN) return Error{errno, "KVM_RUN of vCPU " + std::to_string(index_)};
  kick_flag().Take();
  return false;
}

void Vcpu::Kick() const {
  // First the flag, then the signal: whichever of the two the vCPU thread meets, it comes back (api.rst,
  // immediate_exit).
  kick_flag().Raise();
  Signal();
}

void Vcpu::Signal() const {
  const int thread_id = thread_id_->load();
  if (thread_id != 0) ::syscall(SYS_tgkill, ::getpid(), thread_id, kKickSignal);
}

Result<> Vcpu::AttachThread() {
  static std::once_flag installed;
  std::call_once(installed, [] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    ::sigaction(kKickSignal, &action, nullptr);
  });
  thread_id_->store(static_cast<int>(::syscall(SYS_gettid)));
  return {};
}

Result<kvm_regs> Vcpu::Regs() const {
  kvm_regs regs;
  HMVM_TRY(Ioctl(KVM_GET_REGS, &regs, "KVM_GET_REGS"));
  return regs;
}

Result<> Vcpu::SetRegs(const kvm_regs& regs) const {
  HMVM_TRY(TypedIoctl(fd_.get(), KVM_SET_REGS, &regs, "KVM_SET_REGS"));
  return {};
}

Result<kvm_sregs> Vcpu::Sregs() const {
  kvm_sregs sregs;
  HMVM_TRY(Ioctl(KVM_GET_SREGS, &sregs, "KVM_GET_SREGS"));
  return sregs;
}

Result<> Vcpu::SetSregs(const kvm_sregs& sregs) const {
  HMVM_TRY(TypedIoctl(fd_.get(), KVM_SET_SREGS, &sregs, "KVM_SET_SREGS"));
  return {};
}

Result<kvm_vcpu_events> Vcpu::Events() const {
  kvm_vcpu_events events;
  HMVM_TRY(Ioctl(KVM_GET_VCPU_EVENTS, &events, "KVM_GET_VCPU_EVENTS"));
  return events;
}

Result<> Vcpu::SetEvents(const kvm_vcpu_events& events) const {
  HMVM_TRY(TypedIoctl(fd_.get(), KVM_SET_VCPU_EVENTS, &events, "KVM_SET_VCPU_EVENTS"));
  return {};
}

Result<> Vcpu::SetCpuid(std::span<const kvm_cpuid_entry2> entries) const {
  WithEntries<CpuidHeader, kvm_cpuid_entry2> cpuid(entries.size());
  cpuid.header()->nent = static_cast<uint32_t>(entries.size());
  std::copy(entries.begin(), entries.end(), cpuid.entries());
  HMVM_TRY(Ioctl(kSetCpuid2, cpuid.header(), "KVM_SET_CPUID2"));
  return {};
}

Result<> Vcpu::SetMsrs(std::span<const kvm_msr_entry> entries) const {
  WithEntries<MsrsHeader, kvm_msr_entry> msrs(entries.size());
  msrs.header()->nmsrs = static_cast<uint32_t>(entries.size());
  std::copy(entries.begin(), entries.end(), msrs.entries());
  // KVM answers how many it took before the first it refused.
  HMVM_TRY_ASSIGN(const int taken, Ioctl(kSetMsrs, msrs.header(), "KVM_SET_MSRS"));
  if (static_cast<size_t>(taken) != entries.size()) {
    char name[32];
    std::snprintf(name, sizeof(name), "0x%x", entries[static_cast<size_t>(taken)].index);
    return Error{EINVAL, std::string("KVM_SET_MSRS refused MSR ") + name};
  }
  return {};
}

Result<std::vector<kvm_msr_entry>> Vcpu::Msrs(std::span<const uint32_t> indices) const {
  std::vector<kvm_msr_entry> found;
  while (!indices.empty()) {
    WithEntries<MsrsHeader, kvm_msr_entry> msrs(indices.size());
    msrs.header()->nmsrs = static_cast<uint32_t>(indices.size());
    for (size_t i = 0; i < indices.size(); ++i) msrs.entries()[i] = {indices[i], 0, 0};
    HMVM_TRY_ASSIGN(const int taken, Ioctl(kGetMsrs, msrs.header(), "KVM_GET_MSRS"));
    // KVM stops at the first that is none of this vCPU's: on behind it.
    const auto read = std::min(static_cast<size_t>(taken), indices.size());
    found.insert(found.end(), msrs.entries(), msrs.entries() + read);
    indices = indices.subspan(std::min(read + 1, indices.size()));
  }
  return found;
}

Result<> Vcpu::SetXcr0(uint64_t value) const {
  kvm_xcrs xcrs = {};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = value;
  HMVM_TRY(Ioctl(KVM_SET_XCRS, &xcrs, "KVM_SET_XCRS"));
  return {};
}

Result<std::vector<std::byte>> Vcpu::Xsave() const {
  // A state of more than a page (AMX) has an ioctl of its own, which writes all of it.
  std::vector<std::byte> area(std::max(xsave_bytes_, sizeof(XsavePage)));
  const bool large = xsave_bytes_ > sizeof(XsavePage);
  HMVM_TRY(Ioctl(large ? kGetXsave2 : kGetXsave, area.data(), large ? "KVM_GET_XSAVE2" : "KVM_GET_XSAVE"));
  return area;
}

Result<> Vcpu::SetXsave(std::span<const std::byte> area) const {
  if (area.size() < std::max(xsave_bytes_, sizeof(XsavePage))) return Error{EINVAL, "XSAVE area too small"};
  HMVM_TRY(TypedIoctl(fd_.get(), kSetXsave, area.data(), "KVM_SET_XSAVE"));
  return {};
}

Result<int> Vcpu::Ioctl(unsigned long request, void* argument, const char* name) const {
  return TypedIoctl(fd_.get(), request, argument, name);
}

}  // namespace hmvm
