#include "runtime/sandbox/template.h"

#include <csignal>

#include <boost/asio/signal_set.hpp>
#include <unistd.h>

#include "common/log/log.h"
#include "runtime/sandbox/pod_vm.h"

namespace kata::sandbox {
namespace {

Async<void> abort(std::shared_ptr<PodVm> vm) { co_return co_await vm->abort(); }

}  // namespace

Async<void> provide_template(asio::any_io_executor executor, config::Config config) {
  if (config.hypervisor.launcher != config::LauncherChoice::kDirect)
    co_return fail(Code::kFailedPrecondition, "templates need launcher = \"direct\"");
  config.factory.use_template = true;
  SandboxOptions options;
  options.id = "factory";
  options.run_dir_key = fmt::format("factory-{}", ::getpid());
  options.config = config;
  auto vm = std::make_shared<PodVm>(executor, options, make_parts(executor, config));
  asio::signal_set interrupts(executor, SIGINT, SIGTERM);
  interrupts.async_wait([executor, vm](boost::system::error_code cancelled, int) {
    if (!cancelled) asio::co_spawn(executor, abort(vm), asio::detached);
  });
  Status provided = co_await vm->provide_template();
  interrupts.cancel();
  co_return provided;
}

}  // namespace kata::sandbox
