// A VM that is a child process of ours with its monitor on a socket: what the direct launcher
// makes.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/sys/promise.h"
#include "common/sys/subprocess.h"
#include "runtime/hypervisor/hypervisor.h"
#include "runtime/hypervisor/qmp.h"

namespace kata::hypervisor {

/// A QEMU process, and what its monitor has said; outlives a DirectVm as long as somebody waits for
/// its end. Used on one executor.
struct RunningQemu {
  explicit RunningQemu(const asio::any_io_executor& executor)
      : executor(executor), migration_end(executor), memory_changed(executor) {}

  /// An event of the monitor.
  void handle_event(const std::string& name, const nlohmann::json& data);
  /// Why QEMU has ended, from its exit status, its last event and its last output.
  std::string describe_end(const sys::ExitStatus& status) const;
  /// What it has written last, on one line.
  std::string last_output() const;

  /// Waits for what the monitor says by an event. Unavailable: QEMU has ended first.
  /// DeadlineExceeded.
  template <typename T>
  Async<void> await_event(asio::awaitable<T> event, std::chrono::seconds limit) {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer deadline(executor, limit);
    const auto first = co_await (std::move(event) || qmp->wait_closed() ||
                                 deadline.async_wait(asio::use_awaitable));
    if (first.index() == 1) co_return fail(Code::kUnavailable, "QEMU has ended: {}", last_output());
    if (first.index() == 2)
      co_return fail(Code::kDeadlineExceeded, "not within {} s", limit.count());
    co_return Status{};
  }

  asio::any_io_executor executor;
  std::unique_ptr<sys::Subprocess> process;
  std::unique_ptr<QmpClient> qmp;
  /// SHUTDOWN event's reason ("guest-reset", "guest-shutdown", …), empty until then.
  std::string shutdown_reason;
  /// "completed", "failed"…: of the one save or restore in a VM's life.
  sys::Promise<std::string> migration_end;
  /// Set, and replaced, when the guest has taken or given back some of its HotMemory.
  sys::Event memory_changed;
  /// What it was asked to have of it last.
  uint64_t requested_memory_mib = 0;
  /// What attach() has put into a root port.
  struct Slot {
    std::vector<std::string> devices;  // ids; the first is function 0
    std::vector<std::string> nodes;    // the block nodes below them
    std::vector<std::string> netdevs;  // the network back ends
  };
  std::map<uint32_t, Slot> slots;
  /// Devices that somebody waits to see gone, by id.
  std::map<std::string, sys::Event> detaching;
};

class DirectVm final : public Vm {
 public:
  explicit DirectVm(std::shared_ptr<RunningQemu> running);
  ~DirectVm() override;

  const VmIdentity& identity() const override { return identity_; }
  Async<VmEnd> wait_exit() override;
  Async<void> stop() override;
  Async<void> attach(std::vector<Device> devices, uint32_t port) override;
  Async<void> detach(uint32_t port) override;
  Async<void> plug_vcpus(uint32_t count) override;
  Async<void> request_memory(uint64_t mib) override;
  Async<void> await_memory(std::chrono::seconds limit) override;
  Async<void> save(int device_state_fd) override;
  Async<void> restore(int device_state_fd) override;
  Async<void> resume() override;

 private:
  std::shared_ptr<RunningQemu> running_;
  VmIdentity identity_;
};

}  // namespace kata::hypervisor
