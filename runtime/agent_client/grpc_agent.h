// The agent over gRPC on one connected vsock stream.
#pragma once

#include <memory>

#include "common/base/unique_fd.h"
#include "runtime/agent_client/agent.h"

namespace kata::agent_client {

/// Takes the connected, non-blocking socket. No byte is exchanged until the first call; there is no
/// reconnection, since a lost connection means a lost VM. Answers arrive on `executor`.
std::unique_ptr<Agent> connect(asio::any_io_executor executor, UniqueFd socket);

}  // namespace kata::agent_client
