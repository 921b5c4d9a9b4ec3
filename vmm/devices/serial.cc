#include "vmm/devices/serial.h"

#include <linux/serial_reg.h>
#include <poll.h>
#include <unistd.h>

namespace hmvm {

void Serial::Read(uint64_t offset, std::span<std::byte> data) {
  std::lock_guard lock(mutex_);
  for (std::byte& byte : data) byte = std::byte{ReadRegister(offset++)};
}

void Serial::Write(uint64_t offset, std::span<const std::byte> data) {
  std::lock_guard lock(mutex_);
  for (const std::byte byte : data) WriteRegister(offset++, std::to_integer<uint8_t>(byte));
}

uint8_t Serial::ReadRegister(uint64_t offset) {
  const bool divisor_access = (line_control_ & UART_LCR_DLAB) != 0;
  switch (offset) {
    case UART_RX:
      return divisor_access ? divisor_ & 0xff : 0;
    case UART_IER:
      return divisor_access ? divisor_ >> 8 : interrupt_enable_;
    case UART_IIR: {
      // Both FIFO bits set tell a 16550A; reading ends the transmitter's interrupt.
      const uint8_t fifo = (fifo_control_ & UART_FCR_ENABLE_FIFO) != 0 ? 0xc0 : 0;
      if (!transmit_interrupt_pending_) return UART_IIR_NO_INT | fifo;
      transmit_interrupt_pending_ = false;
      return UART_IIR_THRI | fifo;
    }
    case UART_LCR:
      return line_control_;
    case UART_MCR:
      return modem_control_;
    case UART_LSR:
      return UART_LSR_THRE | UART_LSR_TEMT;  // each byte is gone as soon as it is written
    case UART_MSR:
      // In loopback the modem control outputs are the inputs: Linux's test for the port.
      if ((modem_control_ & UART_MCR_LOOP) != 0) {
        return ((modem_control_ & UART_MCR_DTR) != 0 ? UART_MSR_DSR : 0) |
               ((modem_control_ & UART_MCR_RTS) != 0 ? UART_MSR_CTS : 0) |
               ((modem_control_ & UART_MCR_OUT1) != 0 ? UART_MSR_RI : 0) |
               ((modem_control_ & UART_MCR_OUT2) != 0 ? UART_MSR_DCD : 0);
      }
      return UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD;
    case UART_SCR:
      return scratch_;
    default:
      return 0xff;
  }
}

void Serial::WriteRegister(uint64_t offset, uint8_t value) {
  const bool divisor_access = (line_control_ & UART_LCR_DLAB) != 0;
  switch (offset) {
    case UART_TX:
      if (divisor_access) {
        divisor_ = static_cast<uint16_t>((divisor_ & 0xff00) | value);
        return;
      }
      if ((modem_control_ & UART_MCR_LOOP) == 0) Transmit(value);
      RaiseIfEnabled();
      return;
    case UART_IER:
      if (divisor_access) {
        divisor_ = static_cast<uint16_t>((divisor_ & 0x00ff) | value << 8);
        return;
      }
      interrupt_enable_ = value & 0x0f;
      RaiseIfEnabled();
      return;
    case UART_FCR:
      fifo_control_ = value;
      return;
    case UART_LCR:
      line_control_ = value;
      return;
    case UART_MCR:
      modem_control_ = value & 0x1f;
      return;
    case UART_SCR:
      scratch_ = value;
      return;
    default:
      return;  // the status registers
  }
}

snapshot::SerialState Serial::Save() const {
  std::lock_guard lock(mutex_);
  snapshot::SerialState state;
  state.set_transmit_interrupt_pending(transmit_interrupt_pending_);
  state.set_interrupt_enable(interrupt_enable_);
  state.set_fifo_control(fifo_control_);
  state.set_line_control(line_control_);
  state.set_modem_control(modem_control_);
  state.set_scratch(scratch_);
  state.set_divisor(divisor_);
  return state;
}

Result<> Serial::Restore(const snapshot::SerialState& state) {
  for (const uint32_t value : {state.fifo_control(), state.line_control(), state.scratch()}) {
    if (value > UINT8_MAX) return Error{EINVAL, "serial port's register of more than 8 bits"};
  }
  if (state.interrupt_enable() > 0x0f || state.modem_control() > 0x1f || state.divisor() > UINT16_MAX) {
    return Error{EINVAL, "serial port's register with bits that it has not"};
  }
  std::lock_guard lock(mutex_);
  transmit_interrupt_pending_ = state.transmit_interrupt_pending();
  interrupt_enable_ = static_cast<uint8_t>(state.interrupt_enable());
  fifo_control_ = static_cast<uint8_t>(state.fifo_control());
  line_control_ = static_cast<uint8_t>(state.line_control());
  modem_control_ = static_cast<uint8_t>(state.modem_control());
  scratch_ = static_cast<uint8_t>(state.scratch());
  divisor_ = static_cast<uint16_t>(state.divisor());
  // The interrupt may have been on its way; one too many finds nothing.
  if (transmit_interrupt_pending_ && interrupt_ != nullptr) interrupt_->Trigger();
  return {};
}

void Serial::RaiseIfEnabled() {
  transmit_interrupt_pending_ = (interrupt_enable_ & UART_IER_THRI) != 0;
  if (transmit_interrupt_pending_ && interrupt_ != nullptr) interrupt_->Trigger();
}

void Serial::Transmit(uint8_t byte) {
  if (output_ < 0) return;
  // A vCPU thread must not wait for a reader: what a full pipe has no room for is lost, as on a wire.
  pollfd ready = {.fd = output_, .events = POLLOUT, .revents = 0};
  if (::poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0 || ::write(output_, &byte, 1) != 1) {
    dropped_bytes_.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace hmvm
