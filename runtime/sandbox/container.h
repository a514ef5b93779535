// What the sandbox knows of one container and its init.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "common/sys/promise.h"
#include "runtime/sandbox/sandbox.h"
#include "runtime/storage/container_storage.h"

namespace kata::sandbox {

/// Plain state, changed only by KataSandbox on its executor. Phases go one way:
/// creating -> created -> starting -> running -> stopped -> removing. An exit may come at any phase
/// from created on.
struct Container {
  enum class Phase { kCreating, kCreated, kStarting, kRunning, kStopped, kRemoving };

  Container(const asio::any_io_executor& executor, CreateContainer request)
      : id(std::move(request.id)),
        bundle(std::move(request.bundle)),
        io(std::move(request.io)),
        exited(executor),
        start_finished(executor) {}

  const std::string id;
  const std::filesystem::path bundle;
  std::unique_ptr<ProcessIo> io;
  std::unique_ptr<storage::ContainerStorage> storage;
  Phase phase = Phase::kCreating;
  /// The agent knows the container: it must be deleted there.
  bool in_guest = false;
  /// The client has read all output, or had its time for it.
  bool output_settled = false;
  /// Set once, when the init has ended or its VM has.
  sys::Promise<ProcessExit> exited;
  /// Set when start() has its answer: an exit is reported after it.
  sys::Promise<bool> start_finished;
};

}  // namespace kata::sandbox
