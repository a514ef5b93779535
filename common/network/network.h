// A pod's network as plain values: read in its namespace on the host, made again in the guest.
//
// Addresses are text, as ip(8) shows them: "10.88.0.5", "fd00::5", "0a:58:0a:58:00:05"; with a
// prefix length, "10.88.0.5/16", where one belongs to them. Numbers are those of rtnetlink(7).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kata::network {

struct InterfaceAddress {
  /// With the prefix length; of a point-to-point one that of the peer's.
  std::string local;
  /// Empty but for a point-to-point one.
  std::string peer;
  std::string broadcast;  // or empty
  uint32_t scope = 0;

  bool operator==(const InterfaceAddress&) const = default;
};

struct Interface {
  std::string name;
  /// By which the guest finds its own.
  std::string mac;
  uint32_t mtu = 0;
  bool up = false;
  /// Nobody on the link is asked for its address (IFF_NOARP), as with ipvlan's l3 mode.
  bool no_arp = false;
  std::vector<InterfaceAddress> addresses;

  bool operator==(const Interface&) const = default;
};

struct Route {
  /// With a prefix length; of the default route "0.0.0.0/0" or "::/0".
  std::string destination;
  std::string gateway;  // or empty
  std::string source;   // preferred; or empty
  std::string interface;
  uint32_t table = 0;
  uint32_t metric = 0;
  uint32_t mtu = 0;  // 0: the interface's
  uint32_t scope = 0;
  uint32_t protocol = 0;
  /// The gateway is taken to be on the link, whatever the addresses say (RTNH_F_ONLINK).
  bool on_link = false;

  bool operator==(const Route&) const = default;
};

/// One that somebody has set for good.
struct Neighbour {
  std::string address;
  std::string mac;
  std::string interface;

  bool operator==(const Neighbour&) const = default;
};

struct Network {
  std::vector<Interface> interfaces;
  std::vector<Route> routes;
  std::vector<Neighbour> neighbours;

  bool operator==(const Network&) const = default;
};

}  // namespace kata::network
