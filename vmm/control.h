#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/ttrpc/server.h"
#include "vmm/api/vmm.pb.h"
#include "vmm/machine.h"

namespace hmvm {

// vmm.proto on the control channel. Belongs to the loop's thread; the machine must outlive it.
class Control {
 public:
  // `files`: where requests that need files get them from (base/fd_channel.h); may be none.
  // `started_monotonic_ns`: when the process began, for Describe.
  Control(EventLoop& loop, Machine& machine, UniqueFd files, uint64_t started_monotonic_ns);

  // Serves `socket`; when the other end closes it the machine stops.
  Result<> Serve(UniqueFd socket);

 private:
  Result<SnapshotTarget> TargetOf(const vmm::v1::SnapshotRequest& request);
  Result<> PrepareSnapshot(const vmm::v1::SnapshotRequest& request);
  Result<SnapshotReport> Snapshot(const vmm::v1::SnapshotRequest& request);

  Machine& machine_;
  const UniqueFd files_;
  std::vector<UniqueFd> snapshot_files_;  // of the one under way
  const uint64_t started_monotonic_ns_;
  TtrpcServer server_;
};

}  // namespace hmvm
