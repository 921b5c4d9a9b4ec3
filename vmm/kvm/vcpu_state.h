// A vCPU's state as a snapshot keeps it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "vmm/kvm/kvm.h"
#include "vmm/snapshot/machine_state.pb.h"

namespace hmvm {

// A KVM structure as bytes, and back. EINVAL, naming `what`, when they are not as many as it has.
template <typename T>
std::string PackBytes(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return {reinterpret_cast<const char*>(&value), sizeof(value)};  // SAFETY: any object may be read as chars
}
template <typename T>
Result<T> UnpackBytes(const std::string& bytes, const char* what) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  if (bytes.size() != sizeof(value)) return Error{EINVAL, std::string(what) + " of a wrong size"};
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

// The vCPU is between two KVM_RUNs with nothing left to complete, and no thread in it. `msrs`: those to keep.
// `has_apic`: its local APIC is KVM's.
Result<snapshot::VcpuState> SaveVcpu(const Vcpu& vcpu, std::span<const uint32_t> msrs, bool has_apic);

// Into a vCPU that has its CPUID. KVM checks what it is given; the error names what it does not take.
Result<> RestoreVcpu(const Vcpu& vcpu, const snapshot::VcpuState& state, bool has_apic);

}  // namespace hmvm
