#include "vmm/platform/ring3/hypercalls.h"

#include <cerrno>
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "vmm/platform/ring3/testing.h"

namespace hmvm::ring3 {
namespace {

class HypercallsTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kNowhere = 0x1234;  // not mapped

  HypercallsWithoutVcpu guest_;
};

TEST_F(HypercallsTest, UnknownNumbersAreRefused) {
  EXPECT_EQ(guest_.Call(63, {}), -ENOSYS);
  EXPECT_EQ(guest_.Call(UINT64_MAX, {}), -ENOSYS);
  EXPECT_EQ(guest_.Call(kHypercallMmuUpdate, {}), -ENOSYS);  // the monitor's
}

TEST_F(HypercallsTest, PointersToNowhereAreRefused) {
  EXPECT_EQ(guest_.Call(kHypercallSetTrapTable, {kNowhere}), -EFAULT);
  EXPECT_EQ(guest_.Call(kHypercallMemoryOp, {kMemoryMap, kNowhere}), -EFAULT);
  EXPECT_EQ(guest_.Call(kHypercallConsoleIo, {kConsoleWrite, 5, kNowhere}), -EFAULT);
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuRegisterInfo, 0, kNowhere}), -EFAULT);
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuRegisterTimeArea, 0, kNowhere}), -EFAULT);
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuSetSingleshotTimer, 0, kNowhere}), -EFAULT);
  EXPECT_EQ(guest_.Call(kHypercallSchedOp, {kSchedShutdown, kNowhere}), -EFAULT);
  EXPECT_EQ(guest_.Call(kHypercallCallbackOp, {kCallbackRegister, kNowhere}), -EFAULT);
  EXPECT_EQ(guest_.Call(kHypercallEventChannelOp, {kEventBindVirq, kNowhere}), -EFAULT);
}

TEST_F(HypercallsTest, TrapTableIsTaken) {
  const TrapInfo table[] = {{14, kTrapMasksEvents, 0, 0, 0x1111}, {255, 0, 0, 0, 0x2222}, {0, 0, 0, 0, 0}};

  EXPECT_EQ(guest_.Call(kHypercallSetTrapTable, {guest_.Put(table)}), 0);

  EXPECT_EQ(guest_.window().cpu(0).page_fault_entry, 0x1111U);
  EXPECT_EQ(guest_.window().cpu(0).traps[14].handler, 0x1111U);
}

TEST_F(HypercallsTest, TrapTableWithoutAnEndIsRefused) {
  TrapInfo table[300];
  for (TrapInfo& trap : table) trap = {3, 0, 0, 0, 0x1111};

  EXPECT_EQ(guest_.Call(kHypercallSetTrapTable, {guest_.Put(table)}), -EINVAL);
}

TEST_F(HypercallsTest, VcpuInfoOutsideRamOrAcrossAPageIsRefused) {
  const auto place = [this](uint64_t frame, uint32_t offset) {
    return guest_.Call(kHypercallVcpuOp, {kVcpuRegisterInfo, 0, guest_.Put(VcpuInfoPlace{frame, offset, 0})});
  };

  EXPECT_EQ(place(HypercallsWithoutVcpu::kMemoryBytes / kPageSize, 0), -EINVAL);
  EXPECT_EQ(place(UINT64_MAX, 0), -EINVAL);
  EXPECT_EQ(place(UINT64_MAX / kPageSize + 1, 0), -EINVAL);
  EXPECT_EQ(place(kPlatformWindowStart / kPageSize, 0), -EINVAL);
  EXPECT_EQ(place(8, kPageSize - 8), -EINVAL);
  EXPECT_EQ(place(8, 3), -EINVAL);
}

TEST_F(HypercallsTest, VcpuInfoMovesWithWhatIsPending) {
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuRegisterInfo, 0, guest_.Put(VcpuInfoPlace{8, 64, 0})}), 0);

  EXPECT_EQ(guest_.window().cpu(0).vcpu_info, kDirectMapBase + 8 * kPageSize + 64);
  EXPECT_EQ(guest_.memory().Read<uint8_t>(GuestAddress{8 * kPageSize + 64}).value(), 1);
}

TEST_F(HypercallsTest, VcpuInfoMovesToAPlaceThatOverlapsTheOld) {
  const auto place = [this](uint32_t offset) {
    return guest_.Call(kHypercallVcpuOp, {kVcpuRegisterInfo, 0, guest_.Put(VcpuInfoPlace{8, offset, 0})});
  };
  EXPECT_EQ(place(64), 0);
  guest_.events().vcpu_info(0)->cr2 = 0x1234;

  EXPECT_EQ(place(72), 0);

  EXPECT_EQ(guest_.events().vcpu_info(0)->cr2, 0x1234U);
}

TEST_F(HypercallsTest, NmiIsPendingForItsVcpuAndWakesIt) {
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuSendNmi, 1, 0}), 0);
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuSendNmi, HypercallsWithoutVcpu::kVcpus, 0}), -ENOENT);

  EXPECT_TRUE(guest_.vcpu(1).nmi_pending);
  EXPECT_FALSE(guest_.vcpu(0).nmi_pending);
  EXPECT_EQ(guest_.wakes(), 1);
}

TEST_F(HypercallsTest, NmiCallbackIsTheHandlerOfItsVector) {
  EXPECT_EQ(guest_.Call(kHypercallCallbackOp,
                        {kCallbackRegister, guest_.Put(CallbackRegister{kCallbackNmi, 0, 0, 0x1111})}),
            0);

  EXPECT_EQ(guest_.window().cpu(0).traps[kNmi].handler, 0x1111U);
  EXPECT_NE(guest_.window().cpu(0).traps[kNmi].masks_events, 0U);
}

TEST_F(HypercallsTest, MemoryMapNeedsRoom) {
  const uint64_t buffer = HypercallsWithoutVcpu::kAddress + 0x8000;

  EXPECT_EQ(guest_.Call(kHypercallMemoryOp, {kMemoryMap, guest_.Put(MemoryMap{0, 0, buffer})}), -EINVAL);
  EXPECT_EQ(guest_.Call(kHypercallMemoryOp, {kMemoryMap, guest_.Put(MemoryMap{1, 0, buffer})}), 0);

  const auto entry = guest_.memory().Read<E820Entry>(GuestAddress{0x8000}).value();
  EXPECT_EQ(entry.size_bytes, HypercallsWithoutVcpu::kMemoryBytes);
}

TEST_F(HypercallsTest, ShutdownReasonsEndTheMachine) {
  EXPECT_EQ(guest_.Call(kHypercallSchedOp, {kSchedShutdown, guest_.Put(uint32_t{77})}), -EINVAL);
  EXPECT_FALSE(guest_.calls().end().has_value());

  EXPECT_EQ(guest_.Call(kHypercallSchedOp, {kSchedShutdown, guest_.Put(uint32_t{kShutdownCrash})}), 0);

  EXPECT_EQ(guest_.calls().end(), MachineEnd::kPanic);
}

TEST_F(HypercallsTest, BlockUnmasksAndWaits) {
  guest_.events().SetMasked(0, true);

  EXPECT_EQ(guest_.Call(kHypercallSchedOp, {kSchedBlock}), 0);

  EXPECT_EQ(guest_.waits(), 1);
  EXPECT_EQ(guest_.events().vcpu_info(0)->upcall_mask, 0);
}

TEST_F(HypercallsTest, PassedDeadlineIsRefusedWhenTheGuestAsks) {
  const uint64_t timer = guest_.Put(SingleshotTimer{0, kSingleshotFuture, 0});

  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuSetSingleshotTimer, 0, timer}), -ETIME);
}

TEST_F(HypercallsTest, VcpusBeyondTheLastDoNotExist) {
  for (const uint64_t vcpu : {uint64_t{HypercallsWithoutVcpu::kVcpus}, uint64_t{kMaxVcpus}, UINT64_MAX}) {
    for (uint64_t command = 0; command < 16; ++command) {
      EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {command, vcpu, guest_.Put(uint64_t{0})}), -ENOENT) << command;
    }
  }
}

TEST_F(HypercallsTest, VcpuComesUpOnlyWithSomethingToStartFrom) {
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuIsUp, 1}), 0);
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuUp, 1}), -EINVAL);
  EXPECT_EQ(guest_.vcpu(1).power.Initialise({}), 0);

  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuUp, 1}), 0);

  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuIsUp, 1}), 1);
  EXPECT_EQ(guest_.wakes(), 1);
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuDown, 1}), 0);
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuIsUp, 1}), 0);
}

TEST_F(HypercallsTest, TimersAreTheCallersOwn) {
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuSetSingleshotTimer, 1, guest_.Put(SingleshotTimer{})}),
            -EINVAL);
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuStopSingleshotTimer, 1}), -EINVAL);
}

TEST_F(HypercallsTest, VcpuInfoOfARunningVcpuStays) {
  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuRegisterInfo, 1, guest_.Put(VcpuInfoPlace{8, 128, 0})}), 0);
  EXPECT_EQ(guest_.window().cpu(1).vcpu_info, kDirectMapBase + 8 * kPageSize + 128);
  EXPECT_EQ(guest_.vcpu(1).power.Initialise({}), 0);
  EXPECT_EQ(guest_.vcpu(1).power.Up(), 0);

  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuRegisterInfo, 1, guest_.Put(VcpuInfoPlace{8, 64, 0})}),
            -EINVAL);
}

TEST_F(HypercallsTest, RunstateIsWrittenWhereItIsRegistered) {
  const uint64_t area = HypercallsWithoutVcpu::kAddress + 0x8000;
  guest_.vcpu(1).runstate.Enter(kBlocked, 0, 0);

  EXPECT_EQ(guest_.Call(kHypercallVcpuOp, {kVcpuRegisterRunstate, 1, guest_.Put(area)}), 0);

  const auto info = guest_.memory().Read<RunstateInfo>(GuestAddress{0x8000}).value();
  EXPECT_EQ(info.state, kBlocked);
  EXPECT_EQ(info.entry_time_ns & kRunstateUpdate, 0U);
  EXPECT_GT(info.time_ns[kBlocked], 0U);
}

TEST_F(HypercallsTest, PolledPortsAreChecked) {
  struct {
    SchedPoll poll;
    uint32_t ports[2];
  } request = {{HypercallsWithoutVcpu::kAddress + HypercallsWithoutVcpu::kData + sizeof(SchedPoll), 2, 0, 0},
               {5, kEventChannels}};
  EXPECT_EQ(guest_.Call(kHypercallSchedOp, {kSchedPoll, guest_.Put(request)}), -EINVAL);
  request.ports[1] = 6;
  EXPECT_EQ(guest_.Call(kHypercallSchedOp, {kSchedPoll, guest_.Put(request)}), 0);
  EXPECT_EQ(guest_.polled().size(), 2U);
  request.poll.count = kMostPolledPorts + 1;
  EXPECT_EQ(guest_.Call(kHypercallSchedOp, {kSchedPoll, guest_.Put(request)}), -EINVAL);
  request.poll = {kNowhere, 1, 0, 0};
  EXPECT_EQ(guest_.Call(kHypercallSchedOp, {kSchedPoll, guest_.Put(request)}), -EFAULT);
}

TEST_F(HypercallsTest, IpiToAnotherVcpuWakesIt) {
  EXPECT_EQ(guest_.Call(kHypercallEventChannelOp, {kEventBindIpi, guest_.Put(BindIpi{1, 0})}), 0);
  const uint32_t port = guest_.Get<BindIpi>().port;

  EXPECT_EQ(guest_.Call(kHypercallEventChannelOp, {kEventSend, guest_.Put(port)}), 0);

  EXPECT_EQ(guest_.wakes(), 1);
  EXPECT_TRUE(guest_.events().Pending(1));
}

TEST_F(HypercallsTest, GuestSendsOnlyToItsOwnIpis) {
  EXPECT_EQ(guest_.Call(kHypercallEventChannelOp, {kEventSend, guest_.Put(EventChannels::DevicePort(0))}), 0);
  EXPECT_FALSE(guest_.events().Pending(0));

  EXPECT_EQ(guest_.Call(kHypercallEventChannelOp, {kEventBindIpi, guest_.Put(BindIpi{0, 0})}), 0);
  EXPECT_EQ(guest_.Call(kHypercallEventChannelOp, {kEventSend, guest_.Put(guest_.Get<BindIpi>().port)}), 0);

  EXPECT_TRUE(guest_.events().Pending(0));
}

TEST_F(HypercallsTest, DebugStatusIsWhatTheGuestLeftThere) {
  constexpr Hypercalls::Arguments status = {6};

  EXPECT_EQ(guest_.Call(kHypercallGetDebugreg, status) & (1 << 14), 0);
  EXPECT_EQ(guest_.Call(kHypercallSetDebugreg, {6, 0xffff0ff0}), 0);
  EXPECT_EQ(guest_.Call(kHypercallGetDebugreg, status), 0xffff0ff0);
}

TEST_F(HypercallsTest, BreakpointsAreRefused) {
  EXPECT_EQ(guest_.Call(kHypercallSetDebugreg, {0, 0x1000}), 0);
  EXPECT_EQ(guest_.Call(kHypercallSetDebugreg, {7, 0x402}), -EOPNOTSUPP);
  EXPECT_EQ(guest_.Call(kHypercallSetDebugreg, {7, 0x400}), 0);
}

TEST_F(HypercallsTest, EveryNumberOfTheTableHasAName) {
  EXPECT_EQ(Hypercalls::NameOf(kHypercallMmuUpdate), "mmu_update");
  EXPECT_EQ(Hypercalls::NameOf(kHypercallSchedOp), "sched_op");
  EXPECT_TRUE(Hypercalls::NameOf(63).empty());
}

}  // namespace
}  // namespace hmvm::ring3
