// event_channel_op.
#include <cerrno>

#include "vmm/platform/ring3/hypercalls.h"

namespace hmvm::ring3 {

// The caller sees what is pending on its way back.
void Hypercalls::Tell(std::optional<uint32_t> vcpu) const {
  if (vcpu.has_value() && *vcpu != vcpu_) parts_.threads->Wake(*vcpu);
}

int64_t Hypercalls::EventChannelOperation(const Arguments& arguments) {
  const uint64_t argument = arguments[1];
  switch (arguments[0]) {
    case kEventBindVirq: {
      BindVirq bind;
      if (!Read(argument, &bind)) return -EFAULT;
      const int64_t port = parts_.events->BindVirq(bind.virq, bind.vcpu);
      if (port < 0) return port;
      bind.port = static_cast<uint32_t>(port);
      return Write(argument, bind) ? 0 : -EFAULT;
    }
    case kEventBindIpi: {
      BindIpi bind;
      if (!Read(argument, &bind)) return -EFAULT;
      const int64_t port = parts_.events->BindIpi(bind.vcpu);
      if (port < 0) return port;
      bind.port = static_cast<uint32_t>(port);
      return Write(argument, bind) ? 0 : -EFAULT;
    }
    case kEventBindVcpu: {
      BindVcpu bind;
      if (!Read(argument, &bind)) return -EFAULT;
      return parts_.events->BindVcpu(bind.port, bind.vcpu);
    }
    case kEventStatus: {
      EventStatus status;
      if (!Read(argument, &status)) return -EFAULT;
      if (status.domain != kDomainSelf && status.domain != 0) return -ESRCH;
      const int64_t result = parts_.events->Status(status.port, &status);
      if (result != 0) return result;
      return Write(argument, status) ? 0 : -EFAULT;
    }
    case kEventClose:
    case kEventSend:
    case kEventUnmask: {
      uint32_t port;
      if (!Read(argument, &port)) return -EFAULT;
      if (arguments[0] == kEventClose) return parts_.events->Close(port);
      if (!parts_.events->IsBound(port)) return -EINVAL;
      if (arguments[0] == kEventUnmask) {
        Tell(parts_.events->Unmask(port));
      } else if (parts_.events->IsIpi(port)) {
        Tell(parts_.events->Send(port));
      }
      return 0;
    }
    default:
      return -ENOSYS;  // the FIFO ABI too, whereupon Linux uses the two-level one
  }
}

}  // namespace hmvm::ring3
