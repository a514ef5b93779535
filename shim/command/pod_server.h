// Everything of the serving process that has an event loop: sandbox, services, events, ttrpc.
#pragma once

#include <filesystem>
#include <functional>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "runtime/sandbox/sandbox.h"

namespace kata::command {

struct PodServerOptions {
  sandbox::SandboxOptions sandbox;
  UniqueFd listener;
  /// Of the listener; removed when the pod is shut down.
  std::filesystem::path socket_path;
  /// The network namespace that containerd lives in, for loggers, which may send what they read to
  /// another machine. Empty: this process's.
  UniqueFd host_network;
  /// The mount namespace that it lives in, for hooks; sandbox.host borrows both.
  UniqueFd host_mounts;
};

/// Runs the pod on the calling thread until it has been shut down. `on_ready` is called once, when
/// requests will be answered.
Status serve_pod(PodServerOptions options, const std::function<void()>& on_ready);

}  // namespace kata::command
