// The part of PodVm that is about the pod's network: the guest's cards, and what it is told of
// them.
#include <algorithm>

#include <unistd.h>

#include "common/log/log.h"
#include "runtime/sandbox/pod_vm.h"

namespace kata::sandbox {

using hypervisor::Device;
using network::Card;
using network::PodNetwork;

namespace {

std::vector<int> borrow(const std::vector<UniqueFd>& fds) {
  std::vector<int> numbers;
  for (const UniqueFd& fd : fds) numbers.push_back(fd.get());
  return numbers;
}

std::vector<Device> devices_of(const std::vector<Card>& cards) {
  std::vector<Device> devices;
  for (const Card& card : cards) {
    hypervisor::NetworkCard device;
    device.tap_fds = borrow(card.queues);
    device.vhost_fds = borrow(card.vhosts);
    device.mac = card.mac;
    devices.emplace_back(std::move(device));
  }
  return devices;
}

/// So that each processor has its own.
uint32_t queues_for(uint32_t vcpus) { return std::clamp(vcpus, 1U, network::kMaxQueues); }

}  // namespace

Status PodVm::open_network(uint32_t vcpus) {
  if (!parts_.open_network) return {};
  KATA_TRY(network_, parts_.open_network());
  if (!network_) return {};
  KATA_TRY(cards_, network_->connect_new(PodNetwork::Which::kAll, queues_for(vcpus)));
  network_events_.emplace(executor_, ::dup(network_->events()));
  if (UniqueFd loopback = network_->take_loopback())
    loopback_.emplace(executor_, loopback.release());
  return {};
}

std::vector<Device> PodVm::pod_devices(const hypervisor::VmConfig& vm) const {
  std::vector<Device> devices = devices_of(cards_);
  if (has_hot_memory_)
    devices.emplace_back(hypervisor::HotMemory{.max_mib = vm.max_memory_mib - vm.memory_mib,
                                               .in_hugepages = vm.hugepages});
  // The share, and then the transport, last: the guest sets functions up in their order, and when a
  // template's agent hears of the transport, everything else has to be there.
  devices.push_back(share_->device());
  devices.push_back(vsock_->device());
  return devices;
}

/// Of interfaces and addresses that come, change or go while containers run.
asio::awaitable<void> PodVm::follow_network() {
  auto self = shared_from_this();
  while (network_events_) {
    boost::system::error_code error;
    co_await network_events_->async_wait(asio::posix::stream_descriptor::wait_read,
                                         asio::redirect_error(asio::use_awaitable, error));
    if (error || !network_) co_return;
    network_->take_events();
    Status updated = co_await update_network(PodNetwork::Which::kUntried);
    if (!updated && !stopping_)
      log::warning("the guest does not have the pod's network as it is now",
                   {{"error", updated.error().message()}});
  }
}

Async<void> PodVm::update_network(PodNetwork::Which which) {
  auto self = shared_from_this();
  if (!network_) co_return Status{};
  while (network_update_) {
    sys::Promise<bool> other = *network_update_;
    co_await other.wait();
  }
  if (!network_) co_return Status{};
  sys::Promise<bool> update(executor_);
  network_update_ = update;
  Status updated = co_await bring_network_up_to_date(which);
  network_update_.reset();
  update.set(true);
  if (!updated) co_return std::unexpected(updated.error());
  co_return Status{};
}

Async<void> PodVm::bring_network_up_to_date(PodNetwork::Which which) {
  // One that cannot have a card is no reason to leave the others as they were.
  Status connected = co_await connect_late(which);
  KATA_CO_TRY(network::Network wanted, network_->read());
  if (wanted == guest_network_) co_return connected;
  Status told = co_await agent_->update_network(wanted);
  if (!told) co_return std::unexpected(told.error().with_stage("network"));
  guest_network_ = std::move(wanted);
  co_return connected;
}

Async<void> PodVm::connect_late(PodNetwork::Which which) {
  KATA_CO_TRY(std::vector<Card> cards, network_->connect_new(which, queues_for(size_.vcpus)));
  if (cards.empty()) co_return Status{};
  Status attached = co_await attach_late_cards(cards);
  if (attached) co_return Status{};
  Status undone = network_->give_up(cards);
  if (!undone) log::warning("take cards back", {{"error", undone.error().message()}});
  co_return attached;
}

Async<void> PodVm::attach_late_cards(const std::vector<Card>& cards) {
  if (!late_port_is_free_)
    co_return fail(Code::kResourceExhausted,
                   "network: interface {} came when the VM had no free port for it any more: give "
                   "the pod its interfaces before its first container starts",
                   cards.front().interface);
  std::vector<Device> devices = devices_of(cards);
  KATA_CO_CHECK(co_await vm_->attach(std::move(devices), kLatePort));
  late_port_is_free_ = false;
  co_return Status{};
}

}  // namespace kata::sandbox
