// Puts a PV kernel into guest memory the way Xen's domain builder does: kernel, initrd, P2M, start info, and
// the first page tables (Xen public/xen.h, "Start-of-day memory layout").
#pragma once

#include <cstdint>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/platform/platform.h"
#include "vmm/platform/ring3/start_state.h"
#include "vmm/platform/ring3/window.h"

namespace hmvm::ring3 {

// The state the kernel is entered with. ENOEXEC when the kernel is not a PV kernel, ENOMEM when it does not
// fit; the text says which.
Result<StartState> BuildBoot(const BootSource& source, const GuestMemory& memory, const Window& window);

}  // namespace hmvm::ring3
