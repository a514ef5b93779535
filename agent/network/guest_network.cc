#include "agent/network/guest_network.h"

#include <algorithm>
#include <chrono>

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/addr.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include "agent/network/links.h"
#include "agent/sandbox/modules.h"

namespace kata::network {
namespace {

using Cards = std::map<std::string, int>;
using AddressObject = NlOwner<rtnl_addr, rtnl_addr_put>;
using RouteObject = NlOwner<rtnl_route, rtnl_route_put>;
using NeighbourObject = NlOwner<rtnl_neigh, rtnl_neigh_put>;

/// A guest that emulates its processor on a busy host takes seconds for a card.
constexpr std::chrono::seconds kCardLimit{60};
/// The kernel sees a link that comes up within a second.
constexpr std::chrono::seconds kCarrierLimit{3};
/// More than any pod has, so that a request of any size costs little.
constexpr size_t kMaxEntries = 4096;

Status check(const Network& wanted) {
  if (wanted.interfaces.size() + wanted.routes.size() + wanted.neighbours.size() > kMaxEntries)
    return fail(Code::kResourceExhausted, "more than {} interfaces, routes and neighbours",
                kMaxEntries);
  for (const Interface& interface : wanted.interfaces)
    if (interface.name.empty() || interface.name.size() >= IFNAMSIZ || interface.name == "lo")
      return fail(Code::kInvalidArgument, "\"{}\" is no name for an interface", interface.name);
  return {};
}

/// Whether the kernel has already what it is asked for, or no longer what it should forget.
bool is_done_already(int answer) {
  return answer == -NLE_EXIST || answer == -NLE_OBJ_NOTFOUND || answer == -NLE_NODEV ||
         answer == -NLE_NOADDR;
}

Result<AddressObject> make_address(int index, const InterfaceAddress& wanted) {
  AddressObject address(rtnl_addr_alloc());
  KATA_TRY(const NlAddress local, parse_address(wanted.local, AF_UNSPEC));
  rtnl_addr_set_ifindex(address.get(), index);
  rtnl_addr_set_local(address.get(), local.get());
  rtnl_addr_set_scope(address.get(), static_cast<int>(wanted.scope));
  if (!wanted.peer.empty()) {
    KATA_TRY(const NlAddress peer, parse_address(wanted.peer, AF_UNSPEC));
    rtnl_addr_set_peer(address.get(), peer.get());
  }
  if (!wanted.broadcast.empty()) {
    KATA_TRY(const NlAddress broadcast, parse_address(wanted.broadcast, AF_INET));
    rtnl_addr_set_broadcast(address.get(), broadcast.get());
  }
  // The routes come from the host, all of them. There it was made sure, too, that nobody else on
  // the link has the address.
  rtnl_addr_set_flags(address.get(), IFA_F_NOPREFIXROUTE);
  if (nl_addr_get_family(local.get()) == AF_INET6) rtnl_addr_set_flags(address.get(), IFA_F_NODAD);
  return address;
}

Status add_address(const NlSocket& socket, int index, const InterfaceAddress& wanted) {
  KATA_TRY(const AddressObject address, make_address(index, wanted));
  const int answer = rtnl_addr_add(socket.get(), address.get(), NLM_F_CREATE | NLM_F_REPLACE);
  return netlink_status(fmt::format("address {}", wanted.local), answer);
}

Status remove_address(const NlSocket& socket, int index, const InterfaceAddress& wanted) {
  KATA_TRY(const AddressObject address, make_address(index, wanted));
  const int answer = rtnl_addr_delete(socket.get(), address.get(), 0);
  if (is_done_already(answer)) return {};
  return netlink_status(fmt::format("remove address {}", wanted.local), answer);
}

Result<RouteObject> make_route(const Cards& cards, const Route& wanted) {
  const auto card = cards.find(wanted.interface);
  if (card == cards.end())
    return fail(Code::kInvalidArgument, "there is no interface \"{}\"", wanted.interface);
  KATA_TRY(const NlAddress destination, parse_address(wanted.destination, AF_UNSPEC));
  RouteObject route(rtnl_route_alloc());
  rtnl_route_set_family(route.get(), static_cast<uint8_t>(nl_addr_get_family(destination.get())));
  rtnl_route_set_dst(route.get(), destination.get());
  rtnl_route_set_table(route.get(), wanted.table);
  rtnl_route_set_priority(route.get(), wanted.metric);
  rtnl_route_set_scope(route.get(), static_cast<uint8_t>(wanted.scope));
  rtnl_route_set_protocol(route.get(), static_cast<uint8_t>(wanted.protocol));
  rtnl_route_set_type(route.get(), RTN_UNICAST);
  if (wanted.mtu != 0) rtnl_route_set_metric(route.get(), RTAX_MTU, wanted.mtu);
  if (!wanted.source.empty()) {
    KATA_TRY(const NlAddress source, parse_address(wanted.source, AF_UNSPEC));
    rtnl_route_set_pref_src(route.get(), source.get());
  }
  rtnl_nexthop* hop = rtnl_route_nh_alloc();
  rtnl_route_add_nexthop(route.get(), hop);  // which is the route's from here on
  rtnl_route_nh_set_ifindex(hop, card->second);
  if (wanted.on_link) rtnl_route_nh_set_flags(hop, RTNH_F_ONLINK);
  if (!wanted.gateway.empty()) {
    KATA_TRY(const NlAddress gateway, parse_address(wanted.gateway, AF_UNSPEC));
    rtnl_route_nh_set_gateway(hop, gateway.get());
  }
  return route;
}

std::string describe(const Route& route) {
  return fmt::format("route to {} by {} {}", route.destination, route.gateway, route.interface);
}

Status add_route(const NlSocket& socket, const Cards& cards, const Route& wanted) {
  auto route = make_route(cards, wanted);
  if (!route) return std::unexpected(route.error().with_stage(describe(wanted)));
  const int answer = rtnl_route_add(socket.get(), route->get(), NLM_F_CREATE | NLM_F_REPLACE);
  return netlink_status(describe(wanted), answer);
}

Status remove_route(const NlSocket& socket, const Cards& cards, const Route& wanted) {
  // With its interface it has gone, too.
  if (!cards.contains(wanted.interface)) return {};
  KATA_TRY(const RouteObject route, make_route(cards, wanted));
  const int answer = rtnl_route_delete(socket.get(), route.get(), 0);
  if (is_done_already(answer)) return {};
  return netlink_status("remove " + describe(wanted), answer);
}

Status add_neighbour(const NlSocket& socket, const Cards& cards, const Neighbour& wanted) {
  const auto card = cards.find(wanted.interface);
  if (card == cards.end())
    return fail(Code::kInvalidArgument, "there is no interface \"{}\"", wanted.interface);
  KATA_TRY(const NlAddress address, parse_address(wanted.address, AF_UNSPEC));
  KATA_TRY(const NlAddress mac, parse_address(wanted.mac, AF_LLC));
  const NeighbourObject neighbour(rtnl_neigh_alloc());
  rtnl_neigh_set_ifindex(neighbour.get(), card->second);
  rtnl_neigh_set_dst(neighbour.get(), address.get());
  rtnl_neigh_set_lladdr(neighbour.get(), mac.get());
  rtnl_neigh_set_state(neighbour.get(), NUD_PERMANENT);
  const int answer = rtnl_neigh_add(socket.get(), neighbour.get(), NLM_F_CREATE | NLM_F_REPLACE);
  return netlink_status(fmt::format("neighbour {}", wanted.address), answer);
}

Status apply_addresses(const NlSocket& socket, int index, const Interface& wanted,
                       const std::vector<InterfaceAddress>& before) {
  for (const InterfaceAddress& address : before)
    if (std::ranges::find(wanted.addresses, address) == wanted.addresses.end())
      KATA_CHECK(remove_address(socket, index, address));
  for (const InterfaceAddress& address : wanted.addresses)
    KATA_CHECK(add_address(socket, index, address));
  return {};
}

Status apply_routes(const NlSocket& socket, const Cards& cards, const std::vector<Route>& wanted,
                    const std::vector<Route>& before) {
  for (const Route& route : before)
    if (std::ranges::find(wanted, route) == wanted.end())
      KATA_CHECK(remove_route(socket, cards, route));
  // A gateway has to be reachable when its route comes.
  for (const bool with_gateway : {false, true})
    for (const Route& route : wanted)
      if (route.gateway.empty() != with_gateway) KATA_CHECK(add_route(socket, cards, route));
  return {};
}

/// An interface that has gone on the host: its card stays, and is to carry nothing any more.
Status take_down_gone(const NlSocket& socket, const std::vector<Interface>& before,
                      const std::vector<Interface>& wanted) {
  for (const Interface& interface : before) {
    if (std::ranges::find(wanted, interface.mac, &Interface::mac) != wanted.end()) continue;
    KATA_TRY(const std::vector<Link> links, read_links(socket));
    const auto card = std::ranges::find(links, interface.mac, &Link::mac);
    if (card == links.end()) continue;
    Interface gone = interface;
    gone.up = false;
    gone.addresses.clear();
    // Its routes and neighbours go with its state.
    KATA_CHECK(apply_addresses(socket, card->index, gone, interface.addresses));
    KATA_CHECK(set_link(socket, card->index, gone));
  }
  return {};
}

}  // namespace

Status GuestNetwork::update(const Network& wanted) {
  KATA_CHECK(check(wanted));
  std::lock_guard lock(updating_);
  if (!wanted.interfaces.empty()) KATA_CHECK(sandbox::load_module_on_demand("virtio_net"));
  KATA_CHECK(apply(wanted));
  applied_ = wanted;
  return {};
}

Status GuestNetwork::apply(const Network& wanted) {
  KATA_TRY(const NlSocket socket, open_netlink());
  KATA_CHECK(take_down_gone(socket, applied_.interfaces, wanted.interfaces));
  KATA_TRY(const Cards cards, await_cards(socket, wanted.interfaces, kCardLimit));
  KATA_CHECK(rename_cards(socket, cards));
  std::vector<int> indices;  // of those that are to be up
  for (const Interface& interface : wanted.interfaces) {
    const auto before = std::ranges::find(applied_.interfaces, interface.mac, &Interface::mac);
    const int index = cards.at(interface.name);
    if (interface.up) indices.push_back(index);
    Status set = set_link(socket, index, interface);
    if (set)
      set = apply_addresses(socket, index, interface,
                            before == applied_.interfaces.end() ? std::vector<InterfaceAddress>{}
                                                                : before->addresses);
    if (!set)
      return std::unexpected(set.error().with_stage(fmt::format("interface {}", interface.name)));
  }
  KATA_CHECK(await_carriers(socket, indices, kCarrierLimit));
  KATA_CHECK(apply_routes(socket, cards, wanted.routes, applied_.routes));
  for (const Neighbour& neighbour : wanted.neighbours)
    KATA_CHECK(add_neighbour(socket, cards, neighbour));
  return {};
}

}  // namespace kata::network
