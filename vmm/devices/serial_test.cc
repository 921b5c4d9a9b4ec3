#include "vmm/devices/serial.h"

#include <fcntl.h>
#include <linux/serial_reg.h>
#include <unistd.h>

#include <array>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"

namespace hmvm {
namespace {

class CountingLine : public InterruptLine {
 public:
  void Trigger() override { ++count; }
  int count = 0;
};

struct SerialTest : testing::Test {
  uint8_t In(uint64_t offset) {
    std::array<std::byte, 1> data = {};
    serial.Read(offset, data);
    return std::to_integer<uint8_t>(data[0]);
  }
  void Out(uint64_t offset, uint8_t value) { serial.Write(offset, std::array{std::byte{value}}); }
  std::string Output() {
    pipe.write.reset();
    char text[256];
    const ssize_t size = ::read(pipe.read.get(), text, sizeof(text));
    return std::string(text, static_cast<size_t>(size));
  }

  Pipe pipe = MakePipe().value();
  CountingLine line;
  Serial serial{pipe.write.get(), &line};
};

TEST_F(SerialTest, BytesReachTheOutputAsTheyAre) {
  Out(UART_TX, 'a');
  Out(UART_TX, 0);
  Out(UART_TX, 0xff);

  EXPECT_EQ(Output(), std::string("a\0\xff", 3));
}

TEST_F(SerialTest, TransmitterIsAlwaysEmpty) {
  Out(UART_TX, 'a');

  EXPECT_EQ(In(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
}

TEST_F(SerialTest, DivisorIsNotTransmitted) {
  Out(UART_LCR, UART_LCR_DLAB);
  Out(UART_DLL, 0x0c);
  Out(UART_DLM, 0x01);

  EXPECT_EQ(In(UART_DLL), 0x0c);
  EXPECT_EQ(In(UART_DLM), 0x01);
  EXPECT_EQ(Output(), "");
}

TEST_F(SerialTest, TransmitInterruptIsRaisedOnceEnabledAndEndsWhenRead) {
  Out(UART_TX, 'a');
  EXPECT_EQ(line.count, 0);

  Out(UART_IER, UART_IER_THRI);
  EXPECT_EQ(line.count, 1);
  EXPECT_EQ(In(UART_IIR) & 0x0f, UART_IIR_THRI);
  EXPECT_EQ(In(UART_IIR) & 0x0f, UART_IIR_NO_INT);

  Out(UART_TX, 'b');
  EXPECT_EQ(line.count, 2);
}

TEST_F(SerialTest, EnabledFifoTellsA16550A) {
  Out(UART_FCR, UART_FCR_ENABLE_FIFO);

  EXPECT_EQ(In(UART_IIR) & 0xc0, 0xc0);
}

TEST_F(SerialTest, LoopbackShowsModemControlAndSendsNothing) {
  Out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
  Out(UART_TX, 'a');

  EXPECT_EQ(In(UART_MSR), UART_MSR_DCD | UART_MSR_CTS);
  EXPECT_EQ(Output(), "");
}

TEST_F(SerialTest, FullOutputDropsInsteadOfBlocking) {
  ::fcntl(pipe.write.get(), F_SETPIPE_SZ, 4096);
  const std::string filling(4096, 'x');
  ASSERT_TRUE(WriteAll(pipe.write.get(), filling).has_value());

  Out(UART_TX, 'a');

  EXPECT_EQ(serial.dropped_bytes(), 1u);
}

TEST_F(SerialTest, AccessBeyondTheLastRegisterReadsAsOnes) {
  std::array<std::byte, 4> data = {};

  serial.Read(UART_SCR, data);
  serial.Write(UART_SCR, data);

  EXPECT_EQ(data[1], std::byte{0xff});
}

}  // namespace
}  // namespace hmvm
