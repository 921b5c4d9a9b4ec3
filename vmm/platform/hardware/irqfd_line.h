#pragma once

#include <sys/eventfd.h>

#include <memory>

#include "base/unique_fd.h"
#include "security/fd_class.h"
#include "vmm/devices/interrupt_line.h"
#include "vmm/kvm/kvm.h"

namespace hmvm {

// An eventfd that KVM turns into an edge on a pin of the in-kernel irqchip.
class IrqfdLine : public InterruptLine {
 public:
  static Result<std::unique_ptr<InterruptLine>> Create(const Vm& vm, uint32_t gsi) {
    UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event.valid()) return Error{errno, "create eventfd for interrupt " + std::to_string(gsi)};
    HMVM_TRY_ASSIGN(event, Place(fd_class::kEvents, std::move(event)));
    HMVM_TRY(vm.AddIrqfd(event.get(), gsi));
    return std::unique_ptr<InterruptLine>(new IrqfdLine(std::move(event)));
  }

  void Trigger() override { ::eventfd_write(event_.get(), 1); }

 private:
  explicit IrqfdLine(UniqueFd event) : event_(std::move(event)) {}
  const UniqueFd event_;
};

}  // namespace hmvm
