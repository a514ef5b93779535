#include "shim/command/pod_lifecycle.h"

#include <utility>

#include "common/log/log.h"
#include "shim/command/bundle.h"
#include "shim/service/shim_messages.h"

namespace kata::command {

Async<void> VmLifecycle::prepare(service::PodRequest request) {
  if (sandbox_.has_containers())
    co_return fail(Code::kFailedPrecondition,
                   "this shim serves containers that came without a sandbox");
  Bundle bundle(request.bundle);
  KATA_CO_TRY(Placement placement, bundle.placement());
  KATA_CO_CHECK(sandbox_.annotate(request.annotations));
  hostname_ = request.hostname.empty() ? placement.hostname : request.hostname;
  // What config.json names has been entered when the shim started to serve.
  if (!request.network_namespace.empty()) KATA_CO_CHECK(enter_network_(request.network_namespace));
  co_return Status{};
}

Async<uint32_t> VmLifecycle::boot() {
  Result<uint32_t> pid = co_await sandbox_.boot(hostname_);
  if (pid) co_return *pid;
  // Else a container would boot the VM of a sandbox that counts as ended.
  const std::chrono::seconds at_once{0};
  if (Status stopped = co_await sandbox_.stop(at_once); !stopped)
    log::error("end a sandbox that did not boot", {{"error", stopped.error().message()}});
  co_return std::unexpected(std::move(pid).error());
}

Async<service::PodMetrics> VmLifecycle::metrics() {
  KATA_CO_TRY(std::string values, co_await sandbox_.pod_metrics());
  service::PodMetrics measured;
  measured.type_url = service::kMetricsType;
  measured.value = std::move(values);
  co_return measured;
}

}  // namespace kata::command
