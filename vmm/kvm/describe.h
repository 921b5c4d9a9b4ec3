#pragma once

#include <string>

#include "vmm/kvm/kvm.h"
#include "vmm/memory/guest_memory.h"

namespace hmvm {

// Registers and the bytes at the instruction pointer where they can be read, several lines: the report for an
// exit that ends the machine. From the vCPU's own thread. Never fails: what KVM refuses to tell is left out.
std::string DescribeVcpu(const Vcpu& vcpu, const GuestMemory& memory);

}  // namespace hmvm
