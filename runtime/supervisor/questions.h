// What a container's run is asked for that changes nothing about its life. Each answers once, on the loop's
// thread, and does not block it.
#pragma once

#include "base/event_loop.h"
#include "base/ttrpc/server.h"
#include "runtime/api/supervisor.pb.h"
#include "runtime/container/record.h"
#include "runtime/supervisor/container_run.h"

namespace hmvm {

// Runs a further process; answers when it has ended.
void AnswerExec(EventLoop& loop, ContainerRun& run, const supervisor::v1::ExecRequest& request,
                TtrpcServer::Responder<supervisor::v1::ExecResponse> respond);
void AnswerResize(ContainerRun& run, const supervisor::v1::ResizeRequest& request,
                  TtrpcServer::Responder<supervisor::v1::Empty> respond);
// `record` is the container as it is now.
void AnswerSnapshot(ContainerRun& run, const ContainerRecord& record,
                    const supervisor::v1::SnapshotRequest& request,
                    TtrpcServer::Responder<supervisor::v1::SnapshotResponse> respond);
// Of its guest only where it runs.
void AnswerStats(ContainerRun& run, const ContainerRecord& record,
                 TtrpcServer::Responder<supervisor::v1::StatsResponse> respond);
void AnswerListProcesses(ContainerRun& run, TtrpcServer::Responder<agent::v1::ListProcessesResponse> respond);
void AnswerCounters(ContainerRun& run, TtrpcServer::Responder<supervisor::v1::CountersResponse> respond);

}  // namespace hmvm
