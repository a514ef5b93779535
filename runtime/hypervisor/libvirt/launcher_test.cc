// The launcher with a libvirt that starts a stand-in for QEMU.
#include "runtime/hypervisor/libvirt/launcher.h"

#include <csignal>
#include <fstream>
#include <optional>
#include <thread>

#include <catch2/catch.hpp>
#include <sys/wait.h>

#include "common/sys/subprocess.h"
#include "runtime/hypervisor/libvirt/embed_root.h"
#include "runtime/hypervisor/vm_processes.h"

namespace kata::hypervisor {
namespace {

/// What the test scripts and sees.
struct Script {
  asio::any_io_executor executor;
  std::thread::id test_thread = std::this_thread::get_id();
  bool qemu_ends_at_once = false;
  std::optional<Error> create_error;
  std::string opened_uri;
  int connections = 0;
  int destroyed = 0;
  bool called_on_test_thread = false;
  std::filesystem::path qemu;
  std::unique_ptr<sys::Subprocess> process;

  /// A process that only waits for its SIGKILL, with `argument` among its own.
  Status start_qemu(const std::string& argument) {
    sys::SubprocessOptions options;
    options.executable = qemu;
    options.arguments = {"-c", "kill -STOP $$", "name", argument};
    options.kill_with_parent = false;
    KATA_TRY(process, sys::Subprocess::spawn(executor, options));
    // spawn() returns early in the exec, when the arguments cannot be seen yet. A QEMU of libvirt's
    // has answered on its monitor by then; this one has stopped itself.
    siginfo_t stopped{};
    const auto pid = static_cast<id_t>(process->pid());
    if (::waitid(P_PID, pid, &stopped, WSTOPPED | WNOWAIT) != 0) return fail_errno("waitid");
    return {};
  }
};

std::string between(const std::string& text, std::string_view before, std::string_view after) {
  const size_t start = text.find(before) + before.size();
  return text.substr(start, text.find(after, start) - start);
}

class FakeDriver final : public LibvirtDriver {
 public:
  explicit FakeDriver(Script& script) : script_(script) { ++script_.connections; }
  ~FakeDriver() override { --script_.connections; }

  Status create(const std::string& xml) override {
    script_.called_on_test_thread |= std::this_thread::get_id() == script_.test_thread;
    if (script_.create_error) return std::unexpected(*script_.create_error);
    if (script_.qemu_ends_at_once) return {};
    return script_.start_qemu(between(xml, "<uuid>", "</uuid>"));
  }
  Status destroy(const std::string&) override {
    ++script_.destroyed;
    return script_.process->kill(SIGKILL);
  }

 private:
  Script& script_;
};

class Workshop {
 public:
  Workshop() {
    char name[] = "/tmp/kata-lv-XXXXXX";
    directory_ = ::mkdtemp(name);
    for (const char* file : {"kernel", "initrd"}) std::ofstream(directory_ / file) << file;
    script_.executor = io_.get_executor();
    // Known as QEMU by its name.
    script_.qemu = directory_ / "qemu-system-fake";
    std::filesystem::copy_file("/bin/sh", script_.qemu);
    config_.name = "test";
    config_.qemu_path = script_.qemu;
    config_.kernel = directory_ / "kernel";
    config_.initrd = directory_ / "initrd";
    config_.run_dir = directory_;
  }
  ~Workshop() {
    script_.process.reset();
    io_.restart();
    io_.run();
    std::filesystem::remove_all(directory_);
  }

  Result<std::unique_ptr<Vm>> launch(const std::string& uri) {
    LibvirtOpener open = [this](const std::string& wanted) {
      script_.opened_uri = wanted;
      return Result<std::unique_ptr<LibvirtDriver>>(std::make_unique<FakeDriver>(script_));
    };
    const auto launcher = make_libvirt_launcher(io_.get_executor(), std::move(open), uri);
    auto launched = await(launcher->launch(config_));
    if (!launched) UNSCOPED_INFO(launched.error().message());
    return launched;
  }

  template <typename T>
  Result<T> await(Async<T> task) {
    std::optional<Result<T>> result;
    asio::co_spawn(io_, std::move(task), [&](std::exception_ptr thrown, Result<T> value) {
      if (thrown) std::rethrow_exception(thrown);
      result = std::move(value);
    });
    // The worker's answers come from outside of the io_context.
    const auto keep_running = asio::make_work_guard(io_);
    io_.restart();
    while (!result) io_.run_one();
    return *std::move(result);
  }

  Script& script() { return script_; }
  VmConfig& config() { return config_; }

 private:
  asio::io_context io_;
  std::filesystem::path directory_;
  Script script_;
  VmConfig config_;
};

TEST_CASE("a VM of the system daemon is destroyed by libvirt, off the executor's thread") {
  Workshop shop;
  const auto vm = shop.launch("qemu:///system");
  REQUIRE(vm.has_value());
  CHECK(shop.script().opened_uri == "qemu:///system");
  CHECK((*vm)->identity().pid == shop.script().process->pid());
  CHECK((*vm)->identity().libvirt_uri == "qemu:///system");
  CHECK((*vm)->identity().libvirt_uuid.size() == 36);
  REQUIRE(shop.await((*vm)->stop()).has_value());
  CHECK(shop.script().destroyed == 1);
  CHECK(shop.script().connections == 0);
  CHECK(shop.await((*vm)->wait_exit()).has_value());
  CHECK(shop.await((*vm)->stop()).has_value());
  CHECK_FALSE(shop.script().called_on_test_thread);
}

TEST_CASE("an embedded driver has its root in the sandbox's directory") {
  Workshop shop;
  const auto vm = shop.launch("qemu:///embed");
  REQUIRE(vm.has_value());
  const auto root = shop.config().run_dir / "lv";
  CHECK(shop.script().opened_uri == "qemu:///embed?root=" + root.native());
  CHECK(std::filesystem::exists(root / "etc/qemu.conf"));
  CHECK(std::filesystem::is_symlink(root / "cache"));
  REQUIRE(shop.await((*vm)->stop()).has_value());
  CHECK(shop.script().destroyed == 0);
  CHECK(shop.script().connections == 0);
}

TEST_CASE("a destroyed Vm takes QEMU with it") {
  Workshop shop;
  auto vm = shop.launch("qemu:///system");
  REQUIRE(vm.has_value());
  vm->reset();
  const auto status = shop.await(shop.script().process->wait());
  REQUIRE(status.has_value());
  CHECK(status->signal == SIGKILL);
  CHECK(shop.script().connections == 0);
}

TEST_CASE("libvirt's refusal keeps its code, and a lack of memory is one") {
  Workshop shop;
  shop.script().create_error = Error(Code::kInvalidArgument, "libvirt: bad XML");
  auto vm = shop.launch("qemu:///system");
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kInvalidArgument);
  CHECK(vm.error().message() == "starting QEMU by libvirt: libvirt: bad XML");
  shop.script().create_error =
      Error(Code::kUnavailable, "libvirt: qemu: cannot set up guest memory 'pc.ram'");
  vm = shop.launch("qemu:///system");
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kResourceExhausted);
  CHECK(shop.script().connections == 0);
}

TEST_CASE("a QEMU that has ended before it was found is an error") {
  Workshop shop;
  shop.script().qemu_ends_at_once = true;
  const auto vm = shop.launch("qemu:///system");
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kUnavailable);
}

TEST_CASE("a root that is too long for libvirt's sockets is refused") {
  const auto uri = prepare_embed_root("/run/" + std::string(60, 'x'), "/tmp");
  REQUIRE_FALSE(uri.has_value());
  CHECK(uri.error().code() == Code::kOutOfRange);
}

TEST_CASE("a VM that nobody wrote down is found by its run directory, and ended") {
  Workshop shop;
  const std::filesystem::path run_dir = shop.config().run_dir;
  REQUIRE(
      shop.script().start_qemu("socket,path=" + run_dir.native() + "/console.sock").has_value());
  CHECK(find_qemu_processes("path=" + run_dir.native() + "-other/").empty());
  CHECK(find_qemu_processes("path=" + run_dir.native() + "/").size() == 1);
  REQUIRE(end_stray_vms(run_dir, std::chrono::seconds(10)).has_value());
  const auto status = shop.await(shop.script().process->wait());
  CHECK(status->signal == SIGKILL);
  CHECK(end_stray_vms(run_dir, std::chrono::seconds(10)).has_value());
}

TEST_CASE("what only mentions a run directory is no VM") {
  Workshop shop;
  shop.script().qemu = "/bin/sh";
  REQUIRE(shop.script().start_qemu("socket,path=/run/kata/stray/console.sock").has_value());
  CHECK(find_qemu_processes("path=/run/kata/stray/").empty());
}

}  // namespace
}  // namespace kata::hypervisor
