// A real VM behind the Sandbox interface, without containerd: QEMU, virtiofsd, kernel, agent.
// One boot serves many rows. Needs root, QEMU and the guest image ($KATA_TEST_GUEST_DIR).
#include <csignal>
#include <cstdlib>
#include <fstream>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/sys/promise.h"
#include "runtime/sandbox/namespaces.h"
#include "runtime/sandbox/sandbox.h"
#include "runtime/sandbox/state.h"

namespace kata::sandbox {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Far more than a boot under TCG takes on a loaded machine: for hangs only.
constexpr std::chrono::minutes kHangLimit{3};

/// Collects stdout and feeds stdin.
class MemoryIo : public ProcessIo {
 public:
  struct Data {
    explicit Data(const asio::any_io_executor& e) : executor(e), at_end(e) {}
    asio::any_io_executor executor;
    std::string input;
    std::string output;
    sys::Promise<bool> at_end;
  };
  explicit MemoryIo(std::shared_ptr<Data> data) : data_(std::move(data)) {}

  bool wants_stdin() const override { return !data_->input.empty(); }
  bool wants_stdout() const override { return true; }
  bool wants_stderr() const override { return false; }
  void attach(StdioStreams streams) override {
    asio::co_spawn(data_->executor, collect(data_, streams.out.release()), asio::detached);
    if (streams.in) {
      REQUIRE(write(streams.in.get(), data_->input.data(), data_->input.size()) ==
              static_cast<ssize_t>(data_->input.size()));
      REQUIRE(shutdown(streams.in.get(), SHUT_WR) == 0);
      in_ = std::move(streams.in);
    }
  }
  Async<void> drained() override {
    co_await data_->at_end.wait();
    co_return Status{};
  }
  void close_stdin() override {}
  void process_ended() override {}
  void cancel() override { in_.reset(); }

 private:
  static asio::awaitable<void> collect(std::shared_ptr<Data> data, int fd) {
    asio::posix::stream_descriptor stream(data->executor, fd);
    char buffer[4096];
    while (true) {
      boost::system::error_code error;
      auto target = asio::buffer(buffer);
      size_t got =
          co_await stream.async_read_some(target, asio::redirect_error(asio::use_awaitable, error));
      data->output.append(buffer, got);
      if (error) break;
    }
    data->at_end.set(true);
  }
  std::shared_ptr<Data> data_;
  UniqueFd in_;
};

class RealPod {
 public:
  RealPod() {
    // As the shim: no mount of the pod outlives this process.
    REQUIRE(enter_private_mount_namespace().has_value());
    char name[] = "/run/kata-it-XXXXXX";
    root_ = mkdtemp(name);
    rootfs_ = root_ / "rootfs";
    for (const char* dir : {"bin", "proc", "sys", "dev", "tmp", "etc"})
      fs::create_directories(rootfs_ / dir);
    fs::copy_file("/bin/busybox", rootfs_ / "bin/busybox");
    fs::create_symlink("busybox", rootfs_ / "bin/sh");
    SandboxOptions options;
    options.id = "it";
    options.nspace = "integration";
    options.run_dir_key = "pod";
    auto config = config::load_default();
    REQUIRE(config.has_value());
    options.config = *config;
    options.config.runtime.state_root = root_;
    const fs::path guest(std::getenv("KATA_TEST_GUEST_DIR"));
    options.config.hypervisor.kernel = guest / "vmlinux";
    options.config.hypervisor.initrd = guest / "kata-initrd.img";
    sandbox = make_sandbox(
        loop.get_executor(), options,
        [this](const std::string& id, const std::string&, uint32_t, const ProcessExit& exit) {
          exits.push_back(fmt::format("{} {}", id, exit.status));
        },
        [](const std::string&) {});
  }
  ~RealPod() {
    auto stopped = run(sandbox->shutdown());
    CHECK(stopped.has_value());
    CHECK_FALSE(fs::exists(root_ / "pod"));
    sandbox.reset();
    fs::remove_all(root_);
  }

  template <typename T>
  Result<T> run(Async<T> call) {
    std::optional<Result<T>> answer;
    asio::co_spawn(loop, std::move(call), [&answer](std::exception_ptr error, Result<T> result) {
      if (error) std::rethrow_exception(error);
      answer = std::move(result);
    });
    loop.restart();
    while (!answer && loop.run_one_for(kHangLimit) > 0) {
    }
    REQUIRE(answer.has_value());
    if (!*answer) UNSCOPED_INFO(answer->error().message());
    return *answer;
  }

  json spec(const std::vector<std::string>& args) const {
    return {
        {"ociVersion", "1.0.2"},
        {"process",
         {{"args", args},
          {"cwd", "/"},
          {"env", {"PATH=/bin"}},
          {"user", {{"uid", 0}, {"gid", 0}}}}},
        {"root", {{"path", rootfs_.native()}}},
        {"hostname", "it-pod"},
        {"mounts", json::array({{{"destination", "/proc"}, {"type", "proc"}, {"source", "proc"}}})},
        {"linux",
         {{"namespaces",
           {{{"type", "pid"}}, {{"type", "mount"}}, {{"type", "ipc"}}, {{"type", "uts"}}}}}}};
  }

  std::shared_ptr<MemoryIo::Data> create(const std::string& id, const json& config,
                                         std::string input = {}) {
    fs::path bundle = root_ / ("bundle-" + id);
    fs::create_directories(bundle);
    std::ofstream(bundle / "config.json") << config.dump();
    auto data = std::make_shared<MemoryIo::Data>(loop.get_executor());
    data->input = std::move(input);
    CreateContainer request;
    request.id = id;
    request.bundle = bundle;
    request.io = std::make_unique<MemoryIo>(data);
    created = run(sandbox->create(std::move(request)));
    return data;
  }

  /// Creates, starts, waits for, and removes a container of one shell command.
  std::pair<uint32_t, std::string> shell(const std::string& id, const std::string& command,
                                         std::string input = {}) {
    return run_to_end(id, spec({"/bin/sh", "-c", command}), std::move(input));
  }
  std::pair<uint32_t, std::string> run_to_end(const std::string& id, const json& config,
                                              std::string input = {}) {
    auto data = create(id, config, std::move(input));
    REQUIRE(created.has_value());
    REQUIRE(run(sandbox->start(id, "")).has_value());
    auto exit = run(sandbox->wait(id, ""));
    REQUIRE(exit.has_value());
    REQUIRE(run(sandbox->remove(id, "")).has_value());
    return {exit->status, data->output};
  }

  asio::io_context loop;
  std::shared_ptr<Sandbox> sandbox;
  std::vector<std::string> exits;
  Result<uint32_t> created = 0;
  fs::path root_;
  fs::path rootfs_;
};

bool can_run() {
  if (std::getenv("KATA_TEST_GUEST_DIR") != nullptr && geteuid() == 0) return true;
  WARN("skipped: needs root and KATA_TEST_GUEST_DIR (run it by tools/test integration)");
  return false;
}

TEST_CASE("one VM, many containers") {
  if (!can_run()) return;
  RealPod pod;
  CHECK(pod.shell("exit", "exit 42").first == 42);
  CHECK(pod.shell("hostname", "busybox hostname").second == "it-pod\n");
  CHECK(pod.shell("pid", "echo $$").second == "1\n");
  CHECK(pod.shell("stdin", "busybox wc -c", std::string(100'000, 'x')).second == "100000\n");

  // Writes of the container reach the host's rootfs, since it is a share.
  CHECK(pod.shell("write", "echo from-guest > /tmp/note").first == 0);
  std::string note;
  std::getline(std::ifstream(pod.rootfs_ / "tmp/note"), note);
  CHECK(note == "from-guest");

  // A host file and a read-only host directory as bind mounts.
  std::ofstream(pod.root_ / "file") << "host file\n";
  fs::create_directory(pod.root_ / "dir");
  std::ofstream(pod.root_ / "dir/inner") << "host dir\n";
  json config = pod.spec({"/bin/sh", "-c", "cat /etc/file /tmp/dir/inner; echo x > /tmp/dir/new"});
  config["mounts"].push_back({{"destination", "/etc/file"},
                              {"type", "bind"},
                              {"source", (pod.root_ / "file").native()},
                              {"options", {"bind"}}});
  config["mounts"].push_back({{"destination", "/tmp/dir"},
                              {"type", "bind"},
                              {"source", (pod.root_ / "dir").native()},
                              {"options", {"rbind", "ro"}}});
  fs::create_symlink("busybox", pod.rootfs_ / "bin/cat");
  auto [status, output] = pod.run_to_end("binds", config);
  CHECK(output == "host file\nhost dir\n");
  CHECK(status == 1);
  CHECK_FALSE(fs::exists(pod.root_ / "dir/new"));

  // Errors of the guest keep their code, and the pod goes on.
  pod.create("missing", pod.spec({"/bin/nosuch"}));
  if (pod.created) pod.created = pod.run(pod.sandbox->start("missing", ""));
  REQUIRE_FALSE(pod.created.has_value());
  CHECK_THAT(pod.created.error().message(), Catch::Contains("/bin/nosuch"));
  CHECK(pod.shell("after", "exit 3").first == 3);
}

TEST_CASE("QEMU's death is every container's exit") {
  if (!can_run()) return;
  RealPod pod;
  pod.create("a", pod.spec({"/bin/busybox", "sleep", "1000"}));
  REQUIRE(pod.created.has_value());
  REQUIRE(pod.run(pod.sandbox->start("a", "")).has_value());
  REQUIRE(kill(static_cast<pid_t>(*pod.created), SIGKILL) == 0);
  auto exit = pod.run(pod.sandbox->wait("a", ""));
  REQUIRE(exit.has_value());
  CHECK(exit->status == 137);
  CHECK(pod.run(pod.sandbox->remove("a", "")).has_value());
}

}  // namespace
}  // namespace kata::sandbox
