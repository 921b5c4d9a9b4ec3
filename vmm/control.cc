#include "vmm/control.h"

#include "base/fd_channel.h"
#include "vmm/api/vmm.pb.h"

namespace hmvm {
namespace {

constexpr char kService[] = "hmvm.vmm.v1.Vmm";
constexpr char kVersion[] = HMVM_VERSION;

template <typename Response>
Result<Response> Answer(const Result<>& done) {
  if (!done.has_value()) return done.error();
  return Response();
}

}  // namespace

Control::Control(EventLoop& loop, Machine& machine, UniqueFd files, uint64_t started_monotonic_ns)
    : machine_(machine),
      files_(std::move(files)),
      started_monotonic_ns_(started_monotonic_ns),
      server_(loop) {
  server_.Handle<vmm::v1::DescribeRequest, vmm::v1::DescribeResponse>(
      kService, "Describe", [this](const auto&, TtrpcServer::Responder<vmm::v1::DescribeResponse> respond) {
        vmm::v1::DescribeResponse response;
        response.set_version(kVersion);
        response.set_platform(std::string(machine_.platform_name()));
        response.set_cpus(machine_.cpus());
        response.set_memory_bytes(machine_.memory_bytes());
        response.set_started_monotonic_ns(started_monotonic_ns_);
        response.set_running_monotonic_ns(machine_.running_monotonic_ns());
        for (const auto& [name, value] : machine_.Counters()) {
          vmm::v1::Counter* counter = response.add_counters();
          counter->set_name(name);
          counter->set_value(value);
        }
        respond(std::move(response));
      });
  server_.Handle<vmm::v1::StopRequest, vmm::v1::StopResponse>(
      kService, "Stop", [this](const auto&, TtrpcServer::Responder<vmm::v1::StopResponse> respond) {
        respond(vmm::v1::StopResponse());
        machine_.Stop();
      });
  server_.Handle<vmm::v1::PauseRequest, vmm::v1::PauseResponse>(
      kService, "Pause", [this](const auto&, TtrpcServer::Responder<vmm::v1::PauseResponse> respond) {
        respond(Answer<vmm::v1::PauseResponse>(machine_.Pause()));
      });
  server_.Handle<vmm::v1::ResumeRequest, vmm::v1::ResumeResponse>(
      kService, "Resume", [this](const auto&, TtrpcServer::Responder<vmm::v1::ResumeResponse> respond) {
        respond(Answer<vmm::v1::ResumeResponse>(machine_.Resume()));
      });
  server_.Handle<vmm::v1::DescribeWorkingSetRequest, vmm::v1::WorkingSet>(
      kService, "DescribeWorkingSet",
      [this](const auto&, TtrpcServer::Responder<vmm::v1::WorkingSet> respond) {
        const auto pages = machine_.WorkingSet();
        if (!pages.has_value()) return respond(pages.error());
        vmm::v1::WorkingSet response;
        for (const PageRun& run : pages->runs()) {
          vmm::v1::PageRun* const added = response.add_runs();
          added->set_first(run.first);
          added->set_count(run.count);
        }
        respond(std::move(response));
      });
  server_.Handle<vmm::v1::SnapshotRequest, vmm::v1::PrepareSnapshotResponse>(
      kService, "PrepareSnapshot",
      [this](const auto& request, TtrpcServer::Responder<vmm::v1::PrepareSnapshotResponse> respond) {
        respond(Answer<vmm::v1::PrepareSnapshotResponse>(PrepareSnapshot(request)));
      });
  server_.Handle<vmm::v1::SnapshotRequest, vmm::v1::SnapshotResponse>(
      kService, "Snapshot",
      [this](const auto& request, TtrpcServer::Responder<vmm::v1::SnapshotResponse> respond) {
        const auto report = Snapshot(request);
        if (!report.has_value()) return respond(report.error());
        vmm::v1::SnapshotResponse response;
        response.set_pause_ns(report->pause_ns);
        response.set_bytes_written(report->bytes_written);
        // SAFETY: protobuf keeps bytes in a string.
        response.set_memory_id(
            std::string(reinterpret_cast<const char*>(report->memory_id.data()), report->memory_id.size()));
        response.set_rounds(report->memory.rounds);
        response.set_paused_pages(report->memory.paused_pages);
        respond(std::move(response));
      });
}

Result<SnapshotTarget> Control::TargetOf(const vmm::v1::SnapshotRequest& request) {
  if (!request.prepared()) {
    constexpr size_t kFiles = 2;  // machine.pb, memory
    if (!files_.valid()) return Error{EINVAL, "there is no channel for the snapshot's files"};
    HMVM_TRY_ASSIGN(std::vector<UniqueFd> files, ReceiveFds(files_.get()));
    if (files.size() != kFiles) return Error{EINVAL, std::to_string(files.size()) + " files for a snapshot"};
    snapshot_files_ = std::move(files);
  }
  if (snapshot_files_.empty()) return Error{EINVAL, "no snapshot was prepared"};
  SnapshotTarget target = {.state_file = snapshot_files_[0].get(),
                           .memory_file = snapshot_files_[1].get(),
                           .live = request.live(),
                           .diff_of = {},
                           .passing = request.passing(),
                           .prepared = request.prepared(),
                           .stop_after = request.stop_after()};
  if (!request.diff_of().empty()) {
    const std::span<const std::byte> id = std::as_bytes(std::span(request.diff_of()));
    MemoryFileId& parent = target.diff_of.emplace();
    if (id.size() != parent.size()) return Error{EINVAL, "the parent's memory_id has a wrong length"};
    std::ranges::copy(id, parent.begin());
  }
  return target;
}

Result<> Control::PrepareSnapshot(const vmm::v1::SnapshotRequest& request) {
  HMVM_TRY_ASSIGN(const SnapshotTarget target, TargetOf(request));
  auto prepared = machine_.PrepareSnapshot(target);
  if (!prepared.has_value()) snapshot_files_.clear();
  return prepared;
}

Result<SnapshotReport> Control::Snapshot(const vmm::v1::SnapshotRequest& request) {
  HMVM_TRY_ASSIGN(const SnapshotTarget target, TargetOf(request));
  auto report = machine_.Snapshot(target);
  snapshot_files_.clear();
  return report;
}

Result<> Control::Serve(UniqueFd socket) {
  return server_.Serve(std::move(socket), [this] { machine_.Stop(); });
}

}  // namespace hmvm
