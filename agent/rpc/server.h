// The agent's gRPC server (proto/agent.proto): translates, decides nothing.
//
// One thread answers: run()'s. Calls that may wait go to worker threads; WaitProcess and
// WaitOom hold no thread at all. No port is listened on: connections come by add_connection().
#pragma once

#include <memory>

#include "agent/sandbox/sandbox.h"
#include "common/base/unique_fd.h"

namespace kata::rpc {

class Server {
 public:
  /// `sandbox` outlives the server.
  static Result<std::unique_ptr<Server>> start(sandbox::Sandbox& sandbox);
  virtual ~Server() = default;

  /// Serves one connected, non-blocking stream socket. Any thread.
  virtual void add_connection(UniqueFd socket) = 0;

  /// Answers calls until stop() and until every call under way has been answered.
  virtual void run() = 0;
  /// Any thread. WaitProcess calls whose process still runs are cancelled.
  virtual void stop() = 0;
};

}  // namespace kata::rpc
