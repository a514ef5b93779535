#include "runtime/hypervisor/libvirt/launcher.h"

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <random>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include "common/base/cleanup.h"
#include "common/log/log.h"
#include "common/sys/pidfd.h"
#include "common/sys/promise.h"
#include "runtime/hypervisor/libvirt/domain_xml.h"
#include "runtime/hypervisor/libvirt/embed_root.h"
#include "runtime/hypervisor/preflight.h"
#include "runtime/hypervisor/vm_processes.h"

namespace kata::hypervisor {
namespace {

constexpr const char* kEmbedUri = "qemu:///embed";
constexpr const char* kSharedCache = "/var/cache/kata-containers/libvirt";

/// Version 4 of RFC 9562, section 5.4.
std::string make_uuid() {
  std::random_device random;
  const auto word = [&] { return static_cast<uint32_t>(random()); };
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:04x}{:08x}", word(), word() & 0xffff,
                     word() & 0xfff, (word() & 0x3fff) | 0x8000, word() & 0xffff, word());
}

/// A connection, and the one thread on which its blocking calls run.
class Worker {
 public:
  explicit Worker(asio::any_io_executor executor) : executor_(std::move(executor)) {}
  /// Waits for the call under way, if any. Not on the worker's own thread.
  ~Worker() {
    asio::post(thread_, [this] { driver_.reset(); });
    thread_.join();
  }

  /// Runs `call` on the thread and completes on the executor.
  template <typename T>
  static Async<T> run(std::shared_ptr<Worker> self, std::function<Result<T>(Worker&)> call) {
    sys::Promise<Result<T>> answer(self->executor_);
    // Two references: this frame's, and the one that travels to the thread and back, so that the
    // last one is never dropped on the thread.
    asio::post(self->thread_, [travelling = self, answer, call = std::move(call)]() mutable {
      auto result = std::make_shared<Result<T>>(call(*travelling));
      const asio::any_io_executor home = travelling->executor_;
      asio::post(home, [back = std::move(travelling), answer = std::move(answer),
                        result = std::move(result)]() mutable { answer.set(std::move(*result)); });
    });
    co_return co_await answer.wait();
  }

  /// Only inside of run().
  LibvirtDriver& driver() { return *driver_; }
  void set_driver(std::unique_ptr<LibvirtDriver> driver) { driver_ = std::move(driver); }
  bool has_driver() const { return driver_ != nullptr; }

 private:
  asio::any_io_executor executor_;
  std::unique_ptr<LibvirtDriver> driver_;
  asio::thread_pool thread_{1};
};

/// A domain that has been started.
struct Running {
  VmIdentity identity;
  UniqueFd pidfd;
  /// QEMU's stderr, as libvirt keeps it; empty where it is not ours to read.
  std::filesystem::path log_file;
};

/// The last line of QEMU's own in libvirt's log that can be why it ended.
std::string last_words(const std::filesystem::path& log_file) {
  std::ifstream log(log_file);
  std::string last;
  for (std::string line; std::getline(log, line);)
    // Its ends by signal are libvirt's doing: a shutdown, a reset, a destroy.
    if (line.find("qemu-system-x86_64: ") != std::string::npos &&
        line.find("terminating on signal") == std::string::npos)
      last = line;
  return last;
}

std::string describe_end(const Running& running) {
  std::string text = fmt::format("ended (libvirt domain {})", running.identity.libvirt_uuid);
  const std::string words = last_words(running.log_file);
  if (!words.empty()) text += ": " + words;
  return text;
}

bool is_embedded(const Running& running) {
  return running.identity.libvirt_uri.starts_with(kEmbedUri);
}

void kill_qemu(const Running& running) {
  const VmIdentity& vm = running.identity;
  (void)sys::kill_process({.pid = vm.pid, .start_time = vm.pid_start_time}, SIGKILL);
}

class LibvirtVm final : public Vm {
 public:
  LibvirtVm(std::shared_ptr<Worker> worker, std::shared_ptr<const Running> running)
      : worker_(std::move(worker)), running_(std::move(running)) {}
  ~LibvirtVm() override {
    // Not by libvirt: that could block. A transient domain vanishes with its process.
    kill_qemu(*running_);
  }

  const VmIdentity& identity() const override { return running_->identity; }
  Async<VmEnd> wait_exit() override { return wait_exit(running_); }
  Async<void> stop() override { return stop(worker_, running_); }

 private:
  static Async<VmEnd> wait_exit(std::shared_ptr<const Running> running) {
    KATA_CO_CHECK(co_await sys::wait_pidfd(running->pidfd.get()));
    co_return VmEnd{.reason = describe_end(*running)};
  }

  static Async<void> stop(std::shared_ptr<Worker> worker, std::shared_ptr<const Running> running) {
    // An embedded driver has no other users who would want to see the domain destroyed rather than
    // crashed, and its destroy waits until somebody has reaped QEMU.
    if (is_embedded(*running)) kill_qemu(*running);
    std::function<Status(Worker&)> destroy_and_close = [running](Worker& self) -> Status {
      Status destroyed;
      if (self.has_driver() && !is_embedded(*running))
        destroyed = self.driver().destroy(running->identity.libvirt_uuid);
      self.set_driver(nullptr);
      return destroyed;
    };
    const Status destroyed = co_await Worker::run<void>(worker, std::move(destroy_and_close));
    if (!destroyed) {
      log::warning("libvirt did not end the domain; killing QEMU",
                   {{"error", destroyed.error().message()}});
      kill_qemu(*running);
    }
    co_return co_await sys::wait_pidfd(running->pidfd.get());
  }

  std::shared_ptr<Worker> worker_;
  std::shared_ptr<const Running> running_;
};

/// The blocking part of a launch.
Result<std::shared_ptr<const Running>> start_domain(Worker& worker, const LibvirtOpener& open,
                                                    const VmConfig& config,
                                                    const std::string& uri) {
  auto running = std::make_shared<Running>();
  running->identity.libvirt_uri = uri;
  const std::string name = "kata-" + config.run_dir.filename().native();
  if (uri == kEmbedUri) {
    const auto root = config.run_dir / "lv";
    KATA_TRY(running->identity.libvirt_uri, prepare_embed_root(root, kSharedCache));
    running->log_file = root / "log/qemu" / (name + ".log");
  }
  running->identity.libvirt_uuid = make_uuid();
  KATA_TRY(const std::string xml, render_domain_xml(config, name, running->identity.libvirt_uuid));
  KATA_TRY(auto driver, open(running->identity.libvirt_uri));
  worker.set_driver(std::move(driver));
  if (Status created = worker.driver().create(xml); !created) {
    const Error& error = created.error();
    const Code code =
        error.code() == Code::kUnavailable ? code_of_qemu_output(error.message()) : error.code();
    return std::unexpected(Error(code, error.message()));
  }
  const auto found = find_qemu_processes(running->identity.libvirt_uuid);
  if (found.size() != 1)
    return fail(Code::kUnavailable, "QEMU {} right after its start: {}",
                found.empty() ? "ended" : "is there twice", last_words(running->log_file));
  running->identity.pid = found.front().pid;
  running->identity.pid_start_time = found.front().start_time;
  KATA_TRY(running->pidfd, sys::open_process(found.front()));
  return running;
}

class LibvirtLauncher final : public Launcher {
 public:
  LibvirtLauncher(asio::any_io_executor executor, LibvirtOpener open, std::string uri)
      : executor_(std::move(executor)), open_(std::move(open)), uri_(std::move(uri)) {}

  Async<std::unique_ptr<Vm>> launch(const VmConfig& config) override {
    KATA_CO_CHECK(check_vm_config(config));
    auto worker = std::make_shared<Worker>(executor_);
    using Started = std::shared_ptr<const Running>;
    std::function<Result<Started>(Worker&)> start = [open = open_, config,
                                                     uri = uri_](Worker& self) -> Result<Started> {
      return start_domain(self, open, config, uri);
    };
    auto started = co_await Worker::run<Started>(worker, std::move(start));
    if (!started) co_return std::unexpected(started.error().with_stage("starting QEMU by libvirt"));
    Started running = *std::move(started);
    log::info("QEMU runs", {{"pid", std::to_string(running->identity.pid)},
                            {"libvirt_uri", running->identity.libvirt_uri},
                            {"libvirt_uuid", running->identity.libvirt_uuid}});
    co_return std::make_unique<LibvirtVm>(std::move(worker), std::move(running));
  }

 private:
  asio::any_io_executor executor_;
  LibvirtOpener open_;
  std::string uri_;
};

}  // namespace

std::unique_ptr<Launcher> make_libvirt_launcher(asio::any_io_executor executor, LibvirtOpener open,
                                                const std::string& uri) {
  return std::make_unique<LibvirtLauncher>(std::move(executor), std::move(open), uri);
}

Status try_libvirt(const LibvirtOpener& open, const std::string& uri) {
  if (uri != kEmbedUri) {
    KATA_CHECK(open(uri));
    return {};
  }
  char root[] = "/run/kata-check-XXXXXX";
  if (::mkdtemp(root) == nullptr) return fail_errno("creating a directory in /run");
  CleanupStack cleanup;
  cleanup.add([&] {
    std::error_code ignored;
    std::filesystem::remove_all(root, ignored);
  });
  KATA_TRY(const std::string embed_uri, prepare_embed_root(root, kSharedCache));
  KATA_CHECK(open(embed_uri));
  return {};
}

}  // namespace kata::hypervisor
