// The direct launcher against stand-ins for QEMU: what happens when it is missing, dies or
// misbehaves.
#include "runtime/hypervisor/direct.h"

#include <fstream>
#include <optional>

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include "common/sys/file.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::hypervisor {
namespace {

class Workshop {
 public:
  Workshop() {
    std::ofstream(directory_ / "kernel") << "kernel";
    std::ofstream(directory_ / "initrd") << "initrd";
    config_.name = "test";
    config_.kernel = directory_ / "kernel";
    config_.initrd = directory_ / "initrd";
    config_.qemu_path = directory_ / "qemu";
  }

  /// A QEMU whose body is a shell script; the monitor is descriptor 3.
  void write_qemu(const std::string& script) {
    std::ofstream(config_.qemu_path) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(config_.qemu_path, std::filesystem::perms::owner_all);
  }

  Result<std::unique_ptr<Vm>> launch() {
    auto launcher = make_direct_launcher(io_.get_executor());
    REQUIRE(launcher.has_value());
    return await((*launcher)->launch(config_));
  }

  template <typename T>
  Result<T> await(Async<T> task) {
    std::optional<Result<T>> result;
    asio::co_spawn(io_, std::move(task), [&](std::exception_ptr thrown, Result<T> value) {
      if (thrown) std::rethrow_exception(thrown);
      result = std::move(value);
    });
    io_.restart();
    while (!result && io_.run_one() > 0) {
    }
    REQUIRE(result.has_value());
    return *std::move(result);
  }

  VmConfig& config() { return config_; }

 private:
  asio::io_context io_;
  fakes::TemporaryDirectory temporary_;
  std::filesystem::path directory_ = temporary_.path();
  VmConfig config_;
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

constexpr const char* kGoodQemu =
    "printf '{\"QMP\": {\"version\": {}}}\\n' >&3\n"
    "read request <&3\n"
    "printf '{\"return\": {}, \"id\": 1}\\n' >&3\n";

TEST_CASE("a missing QEMU names its path and the remedy") {
  Workshop shop;
  const auto vm = shop.launch();
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kNotFound);
  CHECK(contains(vm.error().message(), shop.config().qemu_path.native()));
  CHECK(contains(vm.error().message(), "apt-get install qemu-system-x86"));
}

TEST_CASE("a missing kernel or initrd is named") {
  Workshop shop;
  shop.write_qemu("exit 0\n");
  shop.config().kernel = "/nonexistent/vmlinux";
  auto vm = shop.launch();
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kNotFound);
  CHECK(contains(vm.error().message(), "guest kernel '/nonexistent/vmlinux'"));
  shop.config().kernel = shop.config().initrd;
  shop.config().initrd = "/nonexistent/initrd";
  vm = shop.launch();
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kNotFound);
  CHECK(contains(vm.error().message(), "guest initrd '/nonexistent/initrd'"));
}

TEST_CASE("a QEMU that is not executable is refused") {
  Workshop shop;
  shop.config().qemu_path = shop.config().kernel;
  const auto vm = shop.launch();
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kPermissionDenied);
}

TEST_CASE("more memory than the host has is refused") {
  Workshop shop;
  shop.write_qemu("exit 0\n");
  shop.config().memory_mib = uint64_t{1} << 40;
  const auto vm = shop.launch();
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kResourceExhausted);
  CHECK(contains(vm.error().message(), "default_memory"));
}

TEST_CASE("a QEMU that dies at once gives its last words") {
  Workshop shop;
  shop.write_qemu("echo 'qemu: -device x: bad' >&2; echo 'second line' >&2; exit 3\n");
  const auto vm = shop.launch();
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kUnavailable);
  CHECK(vm.error().message() ==
        "starting QEMU: QEMU exited with status 3: qemu: -device x: bad; second line");
}

TEST_CASE("a QEMU without memory is an exhausted resource") {
  Workshop shop;
  shop.write_qemu(
      "echo \"cannot set up guest memory 'ram': Cannot allocate memory\" >&2; exit 1\n");
  const auto vm = shop.launch();
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kResourceExhausted);
}

TEST_CASE("a QEMU that somebody kills while it starts") {
  Workshop shop;
  shop.write_qemu("kill -KILL $$\n");
  const auto vm = shop.launch();
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kAborted);
}

TEST_CASE("a QEMU that speaks no QMP is refused and killed") {
  Workshop shop;
  shop.write_qemu("echo 'what is this' >&3; exec sleep 1000\n");
  const auto vm = shop.launch();
  REQUIRE_FALSE(vm.has_value());
  CHECK(vm.error().code() == Code::kInvalidArgument);
}

TEST_CASE("a VM runs until it is stopped, and can be waited for before and after") {
  Workshop shop;
  shop.write_qemu(std::string(kGoodQemu) + "exec sleep 1000\n");
  auto vm = shop.launch();
  REQUIRE(vm.has_value());
  const VmIdentity identity = (*vm)->identity();
  CHECK(::kill(identity.pid, 0) == 0);
  CHECK(identity.pid_start_time > 0);
  REQUIRE(shop.await((*vm)->stop()).has_value());
  CHECK(::kill(identity.pid, 0) != 0);
  const auto end = shop.await((*vm)->wait_exit());
  REQUIRE(end.has_value());
  CHECK(end->reason == "killed by signal 9 (Killed)");
  CHECK(end->killed);
  CHECK(shop.await((*vm)->stop()).has_value());
}

TEST_CASE("a VM that ends by itself says why") {
  Workshop shop;
  shop.write_qemu(std::string(kGoodQemu) +
                  "printf '{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-reset\"}}\\n' "
                  ">&3\nexit 0\n");
  const auto vm = shop.launch();
  REQUIRE(vm.has_value());
  const auto end = shop.await((*vm)->wait_exit());
  REQUIRE(end.has_value());
  CHECK_FALSE(end->killed);
  CHECK(end->reason == "exited with status 0 after the guest reset itself (a kernel panic does)");
}

/// Keeps what it is asked in the file `requests` and gives these answers, in turn.
std::string answering(const std::vector<std::string>& returns) {
  std::string script = kGoodQemu;
  int id = 2;
  for (const std::string& value : returns)
    script += fmt::format(
        "read -r request <&3\necho \"$request\" >> ${{0%/*}}/requests\n"
        "printf '{{\"return\": {}, \"id\": {}}}\\n' >&3\n",
        value, id++);
  return script + "read -r end <&3\n";
}

TEST_CASE("a processor is plugged into the first free place") {
  Workshop shop;
  shop.write_qemu(answering(
      {R"([{"props": {"core-id": 2}, "type": "c"}, {"props": {"core-id": 1, "node-id": 0},)"
       R"( "type": "c"}, {"props": {"core-id": 0}, "type": "c", "qom-path": "/machine/x"}])",
       "{}"}));
  const auto vm = shop.launch();
  REQUIRE(vm.has_value());
  REQUIRE(shop.await((*vm)->plug_vcpus(2)));
  const std::string asked =
      *sys::read_file(shop.config().qemu_path.parent_path() / "requests", 4096);
  CHECK(contains(asked, R"("arguments":{"core-id":1,"driver":"c","id":"cpu1","node-id":0})"));
}

TEST_CASE("more processors than the VM can have are refused, whatever QEMU says") {
  for (const char* answer :
       {"[]", "{}", "7", R"([1, "text", [[]]])", R"([{"props": 5, "type": {}, "qom-path": []}])",
        R"([{"props": {"core-id": "x"}, "qom-path": "/machine/x"}, {"qom-path": "/machine/y"}])"}) {
    Workshop shop;
    shop.write_qemu(answering({answer, "{}"}));
    const auto vm = shop.launch();
    REQUIRE(vm.has_value());
    CHECK(shop.await((*vm)->plug_vcpus(9)).error().code() == Code::kInvalidArgument);
  }
}

TEST_CASE("memory of a VM that has none to come is refused") {
  for (const char* answer :
       {"[]", "{}", R"([{"data": 1}, {"data": {"id": "other", "size": 1}}])"}) {
    Workshop shop;
    shop.write_qemu(answering({answer}));
    const auto vm = shop.launch();
    REQUIRE(vm.has_value());
    CHECK(shop.await((*vm)->await_memory(std::chrono::seconds(1))).error().code() ==
          Code::kFailedPrecondition);
  }
}

TEST_CASE("a guest that does not take its memory is told of with what it has") {
  Workshop shop;
  const std::string two_mib = R"([{"data": {"id": "hot-memory", "size": 2097152}}])";
  shop.write_qemu(answering({"{}", two_mib, "{}", two_mib}));
  const auto vm = shop.launch();
  REQUIRE(vm.has_value());
  REQUIRE(shop.await((*vm)->request_memory(2)));
  REQUIRE(shop.await((*vm)->await_memory(std::chrono::seconds(1))));
  REQUIRE(shop.await((*vm)->request_memory(4)));
  const Status waited = shop.await((*vm)->await_memory(std::chrono::seconds(1)));
  REQUIRE_FALSE(waited.has_value());
  CHECK(waited.error().code() == Code::kDeadlineExceeded);
  CHECK(contains(waited.error().message(), "has 2 MiB"));
}

}  // namespace
}  // namespace kata::hypervisor
