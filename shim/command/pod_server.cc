#include "shim/command/pod_server.h"

#include <chrono>
#include <memory>
#include <string>
#include <system_error>

#include <boost/asio/signal_set.hpp>
#include <signal.h>

#include "common/log/log.h"
#include "common/sys/event.h"
#include "runtime/sandbox/namespaces.h"
#include "shim/command/environment.h"
#include "shim/command/idle_rule.h"
#include "shim/command/pod_lifecycle.h"
#include "shim/events/publisher.h"
#include "shim/io/stdio.h"
#include "shim/service/sandbox_service.h"
#include "shim/service/task_service.h"
#include "shim/ttrpc/server.h"

namespace kata::command {
namespace {

// containerd waits 3 s for the answer to Shutdown.
constexpr std::chrono::milliseconds kLastEventsLimit{2000};
constexpr std::chrono::milliseconds kLastRepliesLimit{1000};
// containerd hangs up when it has the answer. Were we first, its ttrpc client could take the answer
// for lost, which it finds at the same time as the connection's end.
constexpr std::chrono::milliseconds kHangUpLimit{500};
// containerd connects at once, and keeps the connection for as long as it lives.
constexpr std::chrono::seconds kIdleLimit{10};

class PodServer {
 public:
  explicit PodServer(PodServerOptions options);

  Status run(const std::function<void()>& on_ready);

 private:
  asio::awaitable<void> shut_down_unless_held();
  asio::awaitable<void> shut_down();
  asio::awaitable<void> end_after_shutdown();
  void end_on_signals();
  bool in_use() const;
  void end_unused();

  asio::io_context context_{1};
  PodServerOptions options_;
  events::Publisher publisher_;
  std::shared_ptr<sandbox::Sandbox> sandbox_;
  service::TaskService task_service_;
  VmLifecycle pod_;
  service::SandboxService sandbox_service_;
  IdleRule idle_rule_;
  ttrpc::Server server_;
  asio::signal_set signals_;
  bool has_had_containers_ = false;
  bool shutting_down_ = false;
  sys::Event shut_down_done_;
};

events::PublisherOptions publisher_options(const sandbox::SandboxOptions& sandbox) {
  return {.address = environment_value(kTtrpcAddressVariable), .nspace = sandbox.nspace};
}

PodServer::PodServer(PodServerOptions options)
    : options_(std::move(options)),
      publisher_(context_.get_executor(), publisher_options(options_.sandbox)),
      sandbox_(sandbox::make_sandbox(
          context_.get_executor(), options_.sandbox,
          [this](const std::string& id, const std::string& exec_id, uint32_t pid,
                 const sandbox::ProcessExit& exit) {
            task_service_.on_exit(id, exec_id, pid, exit);
          },
          [this](const std::string& id) { task_service_.on_oom(id); })),
      task_service_(
          *sandbox_, publisher_,
          [this](io::StdioConfig stdio) {
            stdio.nspace = options_.sandbox.nspace;
            if (options_.host_network) stdio.logger_network = options_.host_network.get();
            return io::open_stdio(context_.get_executor(), stdio);
          },
          [this] { return shut_down_unless_held(); }),
      pod_(*sandbox_,
           [](const std::string& path) { return sandbox::enter_network_namespace(path); }),
      sandbox_service_(context_.get_executor(), options_.sandbox.id, pod_,
                       [this] { return shut_down(); }),
      idle_rule_(
          context_.get_executor(), kIdleLimit, [this] { return in_use(); },
          [this] { end_unused(); }),
      server_(context_.get_executor()),
      signals_(context_, SIGTERM, SIGINT),
      shut_down_done_(context_.get_executor()) {
  task_service_.add_to(server_, service::kTaskServiceV2);
  task_service_.add_to(server_, service::kTaskServiceV3);
  sandbox_service_.add_to(server_);
  // Containers come and go with requests only.
  server_.on_change([this] {
    has_had_containers_ = has_had_containers_ || sandbox_->has_containers();
    idle_rule_.look();
  });
}

Status PodServer::run(const std::function<void()>& on_ready) {
  end_on_signals();
  KATA_CHECK(server_.serve(std::move(options_.listener)));
  asio::co_spawn(context_, end_after_shutdown(), asio::detached);
  idle_rule_.look();
  on_ready();
  log::info("serving", {{"socket", options_.socket_path.native()}});
  context_.run();
  log::info("shim ended");
  return {};
}

/// What Shutdown of the task service does, which containerd calls after the last container: a pod
/// of the sandbox API stays for the next one.
asio::awaitable<void> PodServer::shut_down_unless_held() {
  if (!sandbox_service_.holds_pod()) co_await shut_down();
}

/// Ends the pod once, however many ask for it; all of them wait for the end.
asio::awaitable<void> PodServer::shut_down() {
  if (std::exchange(shutting_down_, true)) {
    co_await shut_down_done_.wait();
    co_return;
  }
  if (Status ended = co_await sandbox_->shutdown(); !ended)
    log::error("the sandbox did not end cleanly", {{"error", ended.error().message()}});
  const bool flushed = co_await publisher_.flush(kLastEventsLimit);
  if (!flushed) log::error("containerd did not take the last events");
  server_.stop_accepting();
  std::error_code ignored;
  std::filesystem::remove(options_.socket_path, ignored);
  shut_down_done_.set();
}

/// Lets the answer to Shutdown out before the process ends.
asio::awaitable<void> PodServer::end_after_shutdown() {
  co_await shut_down_done_.wait();
  co_await server_.idle(kLastRepliesLimit);
  co_await server_.deserted(kHangUpLimit);
  context_.stop();
}

bool PodServer::in_use() const {
  if (shutting_down_ || server_.running_requests() > 0 || sandbox_->has_containers() ||
      sandbox_service_.holds_pod())
    return true;
  // containerd asks for the end right after its last Delete; a client that goes away meanwhile
  // makes it forget that, and keep the connection.
  return server_.connections() > 0 && !has_had_containers_;
}

void PodServer::end_unused() {
  log::warning("ending a pod without containers that nobody asks for any more");
  asio::co_spawn(context_, shut_down(), asio::detached);
}

void PodServer::end_on_signals() {
  signals_.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    log::warning("ending the pod", {{"signal", std::to_string(signal)}});
    // containerd publishes the exits itself when it sees its connection end.
    publisher_.close();
    asio::co_spawn(context_, shut_down(), asio::detached);
  });
}

}  // namespace

Status serve_pod(PodServerOptions options, const std::function<void()>& on_ready) {
  return PodServer(std::move(options)).run(on_ready);
}

}  // namespace kata::command
