// A pod's VM that a test boots and ends.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "common/sys/event.h"
#include "common/sys/promise.h"
#include "shim/service/sandbox_service.h"

namespace kata::fakes {

/// Boots when `boot_gate` is set, which it is at first. Every call that can fail answers `error`,
/// if there is one.
class FakePodLifecycle : public service::PodLifecycle {
 public:
  static constexpr uint32_t kPid = 4711;

  explicit FakePodLifecycle(const asio::any_io_executor& executor)
      : boot_gate(executor), ended(executor) {
    boot_gate.set();
  }
  Async<void> prepare(service::PodRequest request) override {
    prepared.push_back(std::move(request));
    if (error) co_return std::unexpected(*error);
    co_return Status();
  }
  Async<uint32_t> boot() override {
    ++boots;
    co_await boot_gate.wait();
    if (error) co_return std::unexpected(*error);
    co_return kPid;
  }
  Async<sandbox::ProcessExit> wait() override { co_return co_await ended.wait(); }
  Async<void> stop(std::chrono::seconds limit) override {
    stops.push_back(limit);
    end(137);
    if (!boot_gate.is_set()) {
      error.emplace(Code::kAborted, "stopped");
      boot_gate.set();
    }
    co_return Status();
  }
  Async<void> ping() override {
    ++pings;
    if (error) co_return std::unexpected(*error);
    co_return Status();
  }
  Async<service::PodMetrics> metrics() override {
    co_return service::PodMetrics{.type_url = "io.containerd.cgroups.v2.Metrics",
                                  .value = "values"};
  }
  void end(uint32_t status) {
    ended.set({.status = status, .at = std::chrono::system_clock::now()});
  }

  sys::Event boot_gate;
  sys::Promise<sandbox::ProcessExit> ended;
  std::optional<Error> error;
  std::vector<service::PodRequest> prepared;
  std::vector<std::chrono::seconds> stops;
  int boots = 0;
  int pings = 0;
};

}  // namespace kata::fakes
