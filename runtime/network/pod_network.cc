#include "runtime/network/pod_network.h"

#include <algorithm>
#include <map>
#include <set>

#include <fcntl.h>
#include <linux/rtnetlink.h>

#include "common/log/log.h"
#include "runtime/network/loopback.h"
#include "runtime/network/redirect.h"
#include "runtime/network/scan.h"

namespace kata::network {
namespace {

/// Of our taps: scan() leaves them out.
constexpr std::string_view kTapPrefix = "kata-tap";

/// All or none.
std::vector<UniqueFd> open_vhosts(uint32_t count) {
  std::vector<UniqueFd> vhosts;
  while (vhosts.size() < count) {
    UniqueFd vhost(::open("/dev/vhost-net", O_RDWR | O_CLOEXEC));
    if (!vhost) return {};
    vhosts.push_back(std::move(vhost));
  }
  return vhosts;
}

class KernelPodNetwork : public PodNetwork {
 public:
  KernelPodNetwork(NlSocket socket, NlSocket events, Loopback loopback)
      : socket_(std::move(socket)), events_(std::move(events)), loopback_(std::move(loopback)) {}
  ~KernelPodNetwork() override {
    if (Status ended = disconnect_all(); !ended)
      log::warning("leave the pod's network", {{"error", ended.error().message()}});
  }

  Result<std::vector<Card>> connect_new(Which which, uint32_t queues) override {
    KATA_TRY(const Found found, scan(socket_, kTapPrefix));
    forget_gone(found);
    std::vector<Card> cards;
    std::vector<int> made;
    for (const FoundInterface& candidate : found.interfaces) {
      if (connected_.contains(candidate.index)) continue;
      if (which == Which::kUntried && failed_.contains(candidate.index)) continue;
      auto card = connect(candidate, queues);
      if (!card) {
        failed_.insert(candidate.index);
        (void)forget(made);
        return std::unexpected(card.error().with_stage(
            fmt::format("network: interface {}", candidate.interface.name)));
      }
      failed_.erase(candidate.index);
      made.push_back(candidate.index);
      cards.push_back(*std::move(card));
    }
    return cards;
  }

  Result<Network> read() override {
    KATA_TRY(Found found, scan(socket_, kTapPrefix));
    Network network;
    std::vector<std::string> known;
    for (FoundInterface& candidate : found.interfaces) {
      if (!connected_.contains(candidate.index)) continue;
      known.push_back(candidate.interface.name);
      network.interfaces.push_back(std::move(candidate.interface));
    }
    auto is_known = [&](const auto& entry) {
      return std::ranges::find(known, entry.interface) != known.end();
    };
    std::ranges::copy_if(found.routes, std::back_inserter(network.routes), is_known);
    std::ranges::copy_if(found.neighbours, std::back_inserter(network.neighbours), is_known);
    return network;
  }

  int events() const override { return nl_socket_get_fd(events_.get()); }

  // What has come is not read for what it says: the namespace is. Lost messages are no loss.
  void take_events() override { drain_events(events_); }

  UniqueFd take_loopback() override { return std::move(loopback_.socket); }

  Status give_up(const std::vector<Card>& cards) override {
    std::vector<int> indices;
    for (const auto& [index, name] : connected_)
      if (std::ranges::find(cards, name, &Card::interface) != cards.end()) indices.push_back(index);
    failed_.insert(indices.begin(), indices.end());
    return forget(indices);
  }

  Status disconnect_all() override {
    std::vector<int> indices;
    for (const auto& [index, name] : connected_) indices.push_back(index);
    return forget(indices);
  }

 private:
  Result<Card> connect(const FoundInterface& found, uint32_t queues) {
    KATA_TRY(Tap tap, open_tap(fmt::format("{}{}", kTapPrefix, found.index), queues));
    KATA_CHECK(set_up(socket_, tap.index, found.interface.mtu));
    KATA_CHECK(redirect(socket_, found.index, tap.index));
    if (Status set = set_queue_length(socket_, found.index, found.queue_length); !set) {
      (void)end_redirect(socket_, found.index);
      return std::unexpected(set.error());
    }
    connected_.emplace(found.index, found.interface.name);
    return Card{.interface = found.interface.name,
                .mac = found.interface.mac,
                .queues = std::move(tap.queues),
                .vhosts = open_vhosts(queues)};
  }

  /// What is not there any more has taken its redirection along.
  void forget_gone(const Found& found) {
    const auto is_gone = [&](int index) {
      return std::ranges::find(found.interfaces, index, &FoundInterface::index) ==
             found.interfaces.end();
    };
    std::erase_if(connected_, [&](const auto& entry) { return is_gone(entry.first); });
    std::erase_if(failed_, is_gone);
  }

  Status forget(const std::vector<int>& indices) {
    Status first_failure;
    for (const int index : indices) {
      const auto entry = connected_.extract(index);
      Status ended = end_redirect(socket_, index);
      if (!ended && first_failure)
        first_failure = std::unexpected(ended.error().with_stage("network: " + entry.mapped()));
    }
    return first_failure;
  }

  NlSocket socket_;
  NlSocket events_;
  Loopback loopback_;
  /// By the interface's index: its name.
  std::map<int, std::string> connected_;
  /// Of those that could not get a card.
  std::set<int> failed_;
};

}  // namespace

Result<std::unique_ptr<PodNetwork>> open_pod_network() {
  KATA_TRY(NlSocket socket, open_netlink());
  KATA_TRY(NlSocket events, open_events({RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                         RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEIGH}));
  auto loopback = listen_on_loopback();
  if (!loopback)
    log::warning(
        "network: no connections to the pod's loopback from the host, as port-forward makes",
        {{"error", loopback.error().message()}});
  return std::make_unique<KernelPodNetwork>(std::move(socket), std::move(events),
                                            loopback ? *std::move(loopback) : Loopback());
}

}  // namespace kata::network
