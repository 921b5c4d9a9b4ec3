// What is known of one container, and its form on disk (state.json).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/container/confinement.h"
#include "runtime/container/health.h"
#include "runtime/container/process_identity.h"
#include "runtime/container/resources.h"
#include "runtime/container/restart_policy.h"
#include "runtime/container/status.h"

namespace hmvm {

// What was asked for, settled before anything starts and never changed.
struct ContainerConfig {
  std::string image;     // as the user named it
  std::string image_id;  // "sha256:..."
  std::vector<std::string> args;
  std::vector<std::string> env;  // "K=V"
  std::string working_dir;
  std::string user;
  std::string hostname;
  std::string stop_signal;       // empty: SIGTERM
  std::string kernel;            // path
  std::string platform;          // auto, hardware, ring3
  std::string seccomp = "kill";  // or "log", "off": see security/seccomp.h
  uint32_t cpus = 1;             // of the machine
  uint64_t memory_bytes = 0;
  Resources resources;
  std::string security_profile = "default";  // by name: default, strict or a file
  std::string profile;                       // in its normal form; empty: the default
  Confinement confinement;                   // what it and the options came to
  bool terminal = false;
  bool open_stdin = false;
  bool read_only = false;
  bool auto_remove = false;
  bool no_template = false;    // its guest is booted each time
  bool require_guard = false;  // its machine must not run without the eBPF guard
  RestartPolicy restart_policy;
  HealthCheck health_check;

  bool operator==(const ContainerConfig&) const = default;
};

// One step of a container's life.
struct ContainerEvent {
  Status status = Status::kCreated;
  int64_t unix_ns = 0;        // CLOCK_REALTIME
  uint64_t monotonic_ns = 0;  // CLOCK_MONOTONIC of this boot

  bool operator==(const ContainerEvent&) const = default;
};

struct ContainerRecord {
  std::string id;    // 64 hex digits
  std::string name;  // unique; the id's first 12 digits when the user gave none
  ContainerConfig config;
  // Never empty: the first is its making, the last the present. Of a long life the oldest between are left
  // out.
  std::vector<ContainerEvent> events;
  int exit_code = 0;            // of the first process, once it has ended
  std::string reason;           // why it failed
  bool oom_killed = false;      // a process of it was killed for lack of memory while its first process ran
  int64_t started_unix_ns = 0;  // when its first process began to run, this time; 0: it has not
  uint32_t restarts = 0;        // by its restart policy, since somebody started it
  HealthRecord health;
  ProcessIdentity owner;  // the process that answers for the container: `hmvm run`, then its supervisor
  ProcessIdentity vmm;

  bool operator==(const ContainerRecord&) const = default;

  static constexpr size_t kMaxEvents = 64;

  Status status() const { return events.back().status; }
  // Whether a process answers for it: a supervisor, or the `hmvm run` that is about to become one.
  bool live() const { return HasSupervisor(status()) || (status() == Status::kCreated && owner.pid != 0); }
  int64_t created_unix_ns() const { return events.front().unix_ns; }
  // When `status` was last entered; 0 if it never was.
  int64_t EnteredUnixNs(Status status) const;

  // Takes a legal step, now. EBUSY for an illegal one, with a sentence that says what is in the way. For
  // ContainerStore::Enter: what is not written has not happened.
  Result<> Enter(Status status);
};

ContainerRecord NewContainerRecord(std::string id, std::string name, ContainerConfig config);

// 64 random hex digits.
std::string NewContainerId();
// Names are [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 128 characters.
Result<> CheckContainerName(std::string_view name);

std::string EncodeContainerRecord(const ContainerRecord& record);
// An error says what is wrong with the text; one of a newer hmvm is refused as such.
Result<ContainerRecord> DecodeContainerRecord(std::string_view text);

}  // namespace hmvm
