#include "vmm/devices/exit_port.h"

#include <array>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hmvm {
namespace {

using testing::ElementsAre;

TEST(ExitPortTest, EachKnownValueIsToldAndOthersAreIgnored) {
  std::vector<ExitRequest> told;
  ExitPort port([&told](ExitRequest request) { told.push_back(request); });

  for (const int value : {0, 1, 2, 3, 255}) port.Write(0, std::array{std::byte(value)});

  EXPECT_THAT(told, ElementsAre(ExitRequest::kPowerOff, ExitRequest::kReset, ExitRequest::kPanic));
}

TEST(KeyboardControllerTest, PulseOfTheResetLineIsAReset) {
  std::vector<ExitRequest> told;
  KeyboardController controller([&told](ExitRequest request) { told.push_back(request); });

  controller.Write(0, std::array{std::byte{0xd1}});
  controller.Write(0, std::array{std::byte{0xfe}});

  EXPECT_THAT(told, ElementsAre(ExitRequest::kReset));
}

TEST(KeyboardControllerTest, StatusIsIdle) {
  KeyboardController controller([](ExitRequest) {});
  std::array data = {std::byte{0xff}};

  controller.Read(0, data);

  EXPECT_EQ(data[0], std::byte{0});
}

}  // namespace
}  // namespace hmvm
