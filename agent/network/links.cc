#include "agent/network/links.h"

#include <algorithm>
#include <functional>

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/route/link.h>
#include <poll.h>

#include "common/log/log.h"

namespace kata::network {
namespace {

using Clock = std::chrono::steady_clock;
using LinkObject = NlOwner<rtnl_link, rtnl_link_put>;

/// Looks at the links, again at each event, until `is_enough` says so: whether it has within
/// `limit`.
Result<bool> await_links(const NlSocket& socket, std::chrono::seconds limit,
                         const std::function<bool(const std::vector<Link>&)>& is_enough) {
  // Before the first look, so that nothing comes between.
  KATA_TRY(const NlSocket events, open_events({RTNLGRP_LINK}));
  const auto deadline = Clock::now() + limit;
  while (true) {
    KATA_TRY(const std::vector<Link> links, read_links(socket));
    if (is_enough(links)) return true;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd ready{.fd = nl_socket_get_fd(events.get()), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) == 0) return false;
    drain_events(events);
  }
}

const Link* find_by_mac(const std::vector<Link>& links, const std::string& mac) {
  const auto found = std::ranges::find(links, mac, &Link::mac);
  return found == links.end() ? nullptr : &*found;
}

Status change(const NlSocket& socket, int index, rtnl_link* wanted) {
  const LinkObject which(rtnl_link_alloc());
  rtnl_link_set_ifindex(which.get(), index);
  return netlink_status("change a link", rtnl_link_change(socket.get(), which.get(), wanted, 0));
}

Status rename_link(const NlSocket& socket, int index, const std::string& name) {
  const LinkObject wanted(rtnl_link_alloc());
  rtnl_link_set_name(wanted.get(), name.c_str());
  Status renamed = change(socket, index, wanted.get());
  if (!renamed) return std::unexpected(renamed.error().with_stage(fmt::format("name {}", name)));
  return {};
}

}  // namespace

Result<std::vector<Link>> read_links(const NlSocket& socket) {
  nl_cache* cache = nullptr;
  KATA_CHECK(
      netlink_status("read the links", rtnl_link_alloc_cache(socket.get(), AF_UNSPEC, &cache)));
  const NlCache owner(cache);
  std::vector<Link> links;
  for_each<rtnl_link>(owner, [&](rtnl_link* link) {
    links.push_back({.index = rtnl_link_get_ifindex(link),
                     .name = rtnl_link_get_name(link),
                     .mac = to_text(rtnl_link_get_addr(link)),
                     .is_running = (rtnl_link_get_flags(link) & IFF_RUNNING) != 0});
  });
  return links;
}

Result<std::map<std::string, int>> await_cards(const NlSocket& socket,
                                               const std::vector<Interface>& interfaces,
                                               std::chrono::seconds limit) {
  std::map<std::string, int> cards;
  const Interface* missing = nullptr;
  auto all_are_there = [&](const std::vector<Link>& links) {
    cards.clear();
    missing = nullptr;
    for (const Interface& interface : interfaces) {
      const Link* link = find_by_mac(links, interface.mac);
      if (link == nullptr)
        missing = &interface;
      else
        cards.emplace(interface.name, link->index);
    }
    return missing == nullptr;
  };
  KATA_TRY(const bool are_there, await_links(socket, limit, all_are_there));
  if (are_there) return cards;
  return fail(Code::kNotFound, "interface {}: no card with the address {} within {} s",
              missing->name, missing->mac, limit.count());
}

Status await_carriers(const NlSocket& socket, const std::vector<int>& indices,
                      std::chrono::seconds limit) {
  auto all_run = [&](const std::vector<Link>& links) {
    return std::ranges::all_of(links, [&](const Link& link) {
      return link.is_running || std::ranges::find(indices, link.index) == indices.end();
    });
  };
  KATA_TRY(const bool run, await_links(socket, limit, all_run));
  if (!run) log::warning("network: a link is not up", {{"limit_s", std::to_string(limit.count())}});
  return {};
}

Status rename_cards(const NlSocket& socket, const std::map<std::string, int>& cards) {
  KATA_TRY(const std::vector<Link> links, read_links(socket));
  auto has_its_name = [&](const Link& link) {
    const auto wanted = cards.find(link.name);
    return wanted != cards.end() && wanted->second == link.index;
  };
  // Those that are in the way first, to names that nobody asks for.
  for (const Link& link : links)
    if (cards.contains(link.name) && !has_its_name(link))
      KATA_CHECK(rename_link(socket, link.index, fmt::format("unnamed{}", link.index)));
  for (const auto& [name, index] : cards) {
    const auto link = std::ranges::find(links, index, &Link::index);
    if (link != links.end() && link->name == name) continue;
    KATA_CHECK(rename_link(socket, index, name));
  }
  return {};
}

Status set_link(const NlSocket& socket, int index, const Interface& wanted) {
  const LinkObject link(rtnl_link_alloc());
  if (wanted.mtu != 0) rtnl_link_set_mtu(link.get(), wanted.mtu);
  const auto set_flag = [&](uint32_t flag, bool is_set) {
    if (is_set)
      rtnl_link_set_flags(link.get(), flag);
    else
      rtnl_link_unset_flags(link.get(), flag);
  };
  set_flag(IFF_UP, wanted.up);
  set_flag(IFF_NOARP, wanted.no_arp);
  return change(socket, index, link.get());
}

}  // namespace kata::network
