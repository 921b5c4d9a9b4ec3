// What making and restoring a machine ask of the host, with errors for a person.
#pragma once

#include "base/result.h"
#include "vmm/kvm/kvm.h"

namespace hmvm {

Result<Kvm> OpenKvm();
// An error when the host has less.
Result<> CheckHostMemory(uint64_t memory_bytes);

}  // namespace hmvm
