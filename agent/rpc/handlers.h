// What each method of proto/agent.proto means to the sandbox.
#pragma once

#include "agent/rpc/answer.h"
#include "agent/sandbox/sandbox.h"

namespace kata::rpc {

// These wait for the kernel and run on worker threads.
Result<pb::PrepareTemplateResponse> prepare_template(sandbox::Sandbox& sandbox,
                                                     const pb::PrepareTemplateRequest& request);
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
Result<pb::PauseContainerResponse> pause_container(sandbox::Sandbox& sandbox,
                                                   const pb::PauseContainerRequest& request);
Result<pb::ResumeContainerResponse> resume_container(sandbox::Sandbox& sandbox,
                                                     const pb::ResumeContainerRequest& request);
Result<pb::UpdateNetworkResponse> update_network(sandbox::Sandbox& sandbox,
                                                 const pb::UpdateNetworkRequest& request);
Result<pb::AdjustClockResponse> adjust_clock(sandbox::Sandbox& sandbox,
                                             const pb::AdjustClockRequest& request);
Result<pb::ResizeGuestResponse> resize_guest(sandbox::Sandbox& sandbox,
                                             const pb::ResizeGuestRequest& request);
Result<pb::UpdateContainerResponse> update_container(sandbox::Sandbox& sandbox,
                                                     const pb::UpdateContainerRequest& request);
Result<pb::GetMetricsResponse> get_metrics(sandbox::Sandbox& sandbox,
                                           const pb::GetMetricsRequest& request);

// These answer at once.
Result<pb::ResizeTerminalResponse> resize_terminal(sandbox::Sandbox& sandbox,
                                                   const pb::ResizeTerminalRequest& request);
Result<pb::SignalProcessResponse> signal_process(sandbox::Sandbox& sandbox,
                                                 const pb::SignalProcessRequest& request);
Result<pb::ListProcessesResponse> list_processes(sandbox::Sandbox& sandbox,
                                                 const pb::ListProcessesRequest& request);
Result<pb::PingResponse> ping(sandbox::Sandbox& sandbox, const pb::PingRequest& request);

/// Answers when the process has ended.
void wait_process(sandbox::Sandbox& sandbox, const pb::WaitProcessRequest& request,
                  Finish<pb::WaitProcessResponse> finish);

/// Answers when there are more OOM kills than the client has seen, or the container is removed.
void wait_oom(sandbox::Sandbox& sandbox, const pb::WaitOomRequest& request,
              Finish<pb::WaitOomResponse> finish);

}  // namespace kata::rpc
