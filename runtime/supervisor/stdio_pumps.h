#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/output/log_file.h"

namespace hmvm {

// The attached client's ends: connected stream sockets, or none. Its standard input comes in, output goes
// out.
struct ClientStreams {
  UniqueFd in;
  UniqueFd out;
  UniqueFd err;
};

// The stdio of a container's first process: one thread a stream, blocking, between the guest, the log file
// and the attached client. A client that does not read holds the container up; one that is gone does not.
class StdioPumps {
 public:
  struct Options {
    std::string run_folder;
    bool terminal = false;    // one stream of output, and standard input never ends
    bool open_stdin = false;  // there is a stream of standard input, be a client attached or not
    // Of a process that runs already; none: new ones.
    struct Streams {
      uint64_t in = 0;
      uint64_t out = 0;
      uint64_t err = 0;
    };
    std::optional<Streams> streams = {};
  };

  StdioPumps(Options options, LogWriter log, ClientStreams client);
  // DropClient() and Join(); the machine must have ended.
  ~StdioPumps();
  StdioPumps(const StdioPumps&) = delete;
  StdioPumps& operator=(const StdioPumps&) = delete;

  // Ids for StartProcess; 0: none.
  uint64_t stdin_stream() const { return stdin_.id; }
  uint64_t stdout_stream() const { return stdout_.id; }
  uint64_t stderr_stream() const { return stderr_.id; }

  // Connects the streams and begins to pump. `on_error` is called from a pump's thread when a stream can't be
  // connected.
  void Start(std::function<void(Error)> on_error);

  // Waits until the guest has ended its output and all of it has gone to log and client.
  void JoinOutput();
  // Forgets the client, also one that a pump waits for. Thread-safe.
  void DropClient();
  // Ends all pumps; the machine must have ended. Idempotent.
  void Join();

 private:
  struct Stream {
    uint64_t id = 0;
    UniqueFd client;
    UniqueFd guest;
    std::thread thread;
  };
  bool Connect(Stream& stream);
  void PumpInput();
  void PumpOutput(Stream& stream, OutputStream kind);

  const Options options_;
  LogWriter log_;
  std::function<void(Error)> on_error_;
  Stream stdin_;
  Stream stdout_;
  Stream stderr_;
};

}  // namespace hmvm
