// What each method of proto/agent.proto means to the sandbox.
#pragma once

#include "agent/rpc/call.h"
#include "agent/sandbox/sandbox.h"

namespace kata::rpc {

// These wait for the kernel and run on worker threads.
Result<pb::CreateSandboxResponse> create_sandbox(sandbox::Sandbox& sandbox,
                                                 const pb::CreateSandboxRequest& request);
Result<pb::CreateContainerResponse> create_container(sandbox::Sandbox& sandbox,
                                                     const pb::CreateContainerRequest& request);
Result<pb::CreateExecResponse> create_exec(sandbox::Sandbox& sandbox,
                                           const pb::CreateExecRequest& request);
Result<pb::DeleteExecResponse> delete_exec(sandbox::Sandbox& sandbox,
                                           const pb::DeleteExecRequest& request);
Result<pb::StartProcessResponse> start_process(sandbox::Sandbox& sandbox,
                                               const pb::StartProcessRequest& request);
Result<pb::DeleteContainerResponse> delete_container(sandbox::Sandbox& sandbox,
                                                     const pb::DeleteContainerRequest& request);

// These answer at once.
Result<pb::SignalProcessResponse> signal_process(sandbox::Sandbox& sandbox,
                                                 const pb::SignalProcessRequest& request);
Result<pb::ListProcessesResponse> list_processes(sandbox::Sandbox& sandbox,
                                                 const pb::ListProcessesRequest& request);

/// Answers when the process has ended.
void wait_process(sandbox::Sandbox& sandbox, const pb::WaitProcessRequest& request,
                  Finish<pb::WaitProcessResponse> finish);

}  // namespace kata::rpc
