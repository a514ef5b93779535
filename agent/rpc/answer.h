// How a method of proto/agent.proto is answered; free of gRPC.
#pragma once

#include <functional>

#include "agent.pb.h"
#include "common/error/error.h"

namespace kata::rpc {

namespace pb = kata::agent::v1;

/// Any thread, once. May outlive the call's client: the answer is dropped then.
template <typename Response>
using Finish = std::function<void(Result<Response>)>;

}  // namespace kata::rpc
