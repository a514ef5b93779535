// What the tests of the sandbox share.
#pragma once

#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "runtime/sandbox/kata_sandbox.h"
#include "tests/fakes/fake_pod.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::sandbox {

inline constexpr const char* kTestConfigJson = R"({"ociVersion": "1.0.2",
  "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
  "root": {"path": "rootfs"}, "hostname": "pod", "linux": {}})";

/// A sandbox of fakes and the loop that runs it.
struct Pod {
  /// `template_root`: where its templates are; empty: none. They depend on <template_root>.of.
  explicit Pod(const std::filesystem::path& template_root = {}) : script(loop.get_executor()) {
    std::filesystem::create_directories(root / "bundle");
    std::ofstream(root / "bundle/config.json") << kTestConfigJson;
    SandboxOptions options;
    options.id = "pod";
    options.nspace = "test";
    options.run_dir_key = "key";
    options.config.runtime.state_root = root / "run";
    options.config.agent.dial_timeout = std::chrono::seconds(1);
    script.run_dir = root / "run/key";
    Parts parts = fakes::make_parts(script);
    if (!template_root.empty()) {
      auto& vm = options.config.hypervisor;
      vm.path = vm.kernel = vm.initrd = template_root.native() + ".of";
      parts.templates = std::make_shared<factory::TemplateStore>(template_root);
    }
    sandbox = std::make_shared<KataSandbox>(
        loop.get_executor(), options, std::move(parts),
        [this](const std::string& id, const std::string& exec_id, uint32_t,
               const ProcessExit& exit) {
          events.push_back(fmt::format("exit {} {}", exec_id.empty() ? id : exec_id, exit.status));
        },
        [this](const std::string& id) { events.push_back("oom " + id); });
  }
  ~Pod() {
    // The coroutines that wait for the VM end with it, before the script that they use.
    sandbox.reset();
    settle();
  }

  /// Runs one call, and whatever it sets off, until nothing is ready.
  template <typename T>
  Result<T> run(Async<T> call) {
    std::optional<Result<T>> answer;
    asio::co_spawn(loop, std::move(call), [&answer](std::exception_ptr error, Result<T> result) {
      if (error) std::rethrow_exception(error);
      answer = std::move(result);
    });
    loop.restart();
    while (!answer && loop.run_one_for(std::chrono::seconds(10)) > 0) {
    }
    REQUIRE(answer.has_value());
    settle();
    return *answer;
  }
  void settle() {
    loop.restart();
    while (loop.poll() > 0) {
    }
  }

  CreateContainer request(const std::string& id) {
    CreateContainer create;
    create.id = id;
    create.bundle = root / "bundle";
    create.io = std::make_unique<fakes::FakeIo>();
    return create;
  }
  Result<uint32_t> create(const std::string& id) { return run(sandbox->create(request(id))); }

  asio::io_context loop;
  fakes::TemporaryDirectory directory;
  std::filesystem::path root = directory.path();
  fakes::Script script;
  std::vector<std::string> events;
  std::shared_ptr<KataSandbox> sandbox;
};

}  // namespace kata::sandbox
