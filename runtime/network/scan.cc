#include "runtime/network/scan.h"

#include <algorithm>
#include <optional>

#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

namespace kata::network {
namespace {

using Interfaces = std::vector<FoundInterface>;

FoundInterface* find(Interfaces& interfaces, int index) {
  const auto found = std::ranges::find(interfaces, index, &FoundInterface::index);
  return found == interfaces.end() ? nullptr : &*found;
}

Status read_links(const NlSocket& socket, std::string_view ignored_prefix, Interfaces& out) {
  nl_cache* links = nullptr;
  KATA_CHECK(netlink_status("read the interfaces",
                            rtnl_link_alloc_cache(socket.get(), AF_UNSPEC, &links)));
  const NlCache owner(links);
  for_each<rtnl_link>(owner, [&](rtnl_link* link) {
    const std::string name = rtnl_link_get_name(link);
    if (rtnl_link_get_arptype(link) != ARPHRD_ETHER || name.starts_with(ignored_prefix)) return;
    FoundInterface found;
    found.index = rtnl_link_get_ifindex(link);
    found.queue_length = rtnl_link_get_txqlen(link);
    found.interface.name = name;
    found.interface.mac = to_text(rtnl_link_get_addr(link));
    found.interface.mtu = rtnl_link_get_mtu(link);
    found.interface.up = (rtnl_link_get_flags(link) & IFF_UP) != 0;
    found.interface.no_arp = (rtnl_link_get_flags(link) & IFF_NOARP) != 0;
    out.push_back(std::move(found));
  });
  return {};
}

Status read_addresses(const NlSocket& socket, Interfaces& interfaces) {
  nl_cache* addresses = nullptr;
  KATA_CHECK(netlink_status("read the addresses", rtnl_addr_alloc_cache(socket.get(), &addresses)));
  const NlCache owner(addresses);
  for_each<rtnl_addr>(owner, [&](rtnl_addr* address) {
    FoundInterface* found = find(interfaces, rtnl_addr_get_ifindex(address));
    if (found == nullptr) return;
    InterfaceAddress out;
    out.scope = static_cast<uint32_t>(rtnl_addr_get_scope(address));
    const bool is_ipv6 = rtnl_addr_get_family(address) == AF_INET6;
    // Neither link-local addresses nor those that a router has announced: the guest hears it too.
    const bool is_set = (rtnl_addr_get_flags(address) & IFA_F_PERMANENT) != 0;
    if (is_ipv6 && (out.scope == RT_SCOPE_LINK || !is_set)) return;
    out.local = to_text(rtnl_addr_get_local(address), /*with_prefix=*/true);
    out.peer = to_text(rtnl_addr_get_peer(address), /*with_prefix=*/true);
    out.broadcast = to_text(rtnl_addr_get_broadcast(address));
    found->interface.addresses.push_back(std::move(out));
  });
  return {};
}

/// fe80::/10 and ff00::/8: each kernel has routes to them of its own.
bool is_link_local(nl_addr* destination) {
  if (destination == nullptr || nl_addr_get_family(destination) != AF_INET6 ||
      nl_addr_get_len(destination) != sizeof(in6_addr))
    return false;
  const auto* address = static_cast<const in6_addr*>(nl_addr_get_binary_addr(destination));
  return IN6_IS_ADDR_LINKLOCAL(address) || IN6_IS_ADDR_MULTICAST(address);
}

/// Nullopt: not on one of our interfaces, or one that the guest's kernel makes or hears itself.
/// What the host's kernel has made of an address is told to the guest, too: CNI's plugins replace
/// it.
std::optional<Route> describe(rtnl_route* route, Interfaces& interfaces) {
  const uint8_t protocol = rtnl_route_get_protocol(route);
  nl_addr* destination = rtnl_route_get_dst(route);
  if (protocol == RTPROT_RA || rtnl_route_get_table(route) == RT_TABLE_LOCAL ||
      rtnl_route_get_type(route) != RTN_UNICAST || is_link_local(destination))
    return std::nullopt;
  // Several next hops are what no CNI plugin makes.
  rtnl_nexthop* hop = rtnl_route_nexthop_n(route, 0);
  if (hop == nullptr) return std::nullopt;
  const FoundInterface* found = find(interfaces, rtnl_route_nh_get_ifindex(hop));
  if (found == nullptr) return std::nullopt;
  Route out;
  out.destination = to_text(destination, /*with_prefix=*/true);
  // libnl's text of the default route is "none", or the address without bits.
  if (destination == nullptr || nl_addr_get_len(destination) == 0 ||
      nl_addr_get_prefixlen(destination) == 0)
    out.destination = rtnl_route_get_family(route) == AF_INET6 ? "::/0" : "0.0.0.0/0";
  out.gateway = to_text(rtnl_route_nh_get_gateway(hop));
  out.source = to_text(rtnl_route_get_pref_src(route));
  out.interface = found->interface.name;
  out.table = rtnl_route_get_table(route);
  out.metric = rtnl_route_get_priority(route);
  out.scope = rtnl_route_get_scope(route);
  out.protocol = protocol;
  out.on_link = (rtnl_route_nh_get_flags(hop) & RTNH_F_ONLINK) != 0;
  rtnl_route_get_metric(route, RTAX_MTU, &out.mtu);
  return out;
}

Status read_routes(const NlSocket& socket, Found& out) {
  nl_cache* routes = nullptr;
  KATA_CHECK(netlink_status("read the routes",
                            rtnl_route_alloc_cache(socket.get(), AF_UNSPEC, 0, &routes)));
  const NlCache owner(routes);
  for_each<rtnl_route>(owner, [&](rtnl_route* route) {
    if (auto described = describe(route, out.interfaces))
      out.routes.push_back(*std::move(described));
  });
  return {};
}

Status read_neighbours(const NlSocket& socket, Found& out) {
  nl_cache* neighbours = nullptr;
  KATA_CHECK(
      netlink_status("read the neighbours", rtnl_neigh_alloc_cache(socket.get(), &neighbours)));
  const NlCache owner(neighbours);
  for_each<rtnl_neigh>(owner, [&](rtnl_neigh* neighbour) {
    const FoundInterface* found = find(out.interfaces, rtnl_neigh_get_ifindex(neighbour));
    if (found == nullptr || rtnl_neigh_get_state(neighbour) != NUD_PERMANENT) return;
    out.neighbours.push_back({.address = to_text(rtnl_neigh_get_dst(neighbour)),
                              .mac = to_text(rtnl_neigh_get_lladdr(neighbour)),
                              .interface = found->interface.name});
  });
  return {};
}

}  // namespace

Result<Found> scan(const NlSocket& socket, std::string_view ignored_prefix) {
  Found found;
  KATA_CHECK(read_links(socket, ignored_prefix, found.interfaces));
  if (found.interfaces.empty()) return found;
  KATA_CHECK(read_addresses(socket, found.interfaces));
  KATA_CHECK(read_routes(socket, found));
  KATA_CHECK(read_neighbours(socket, found));
  return found;
}

}  // namespace kata::network
