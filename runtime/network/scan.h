// What a pod's network namespace holds: the interfaces that CNI, Docker or somebody else has put
// there, their addresses and routes.
#pragma once

#include <string>
#include <vector>

#include "common/error/error.h"
#include "common/network/netlink.h"
#include "common/network/network.h"

namespace kata::network {

/// An interface with what only its own namespace knows.
struct FoundInterface {
  int index = 0;
  uint32_t queue_length = 0;
  Interface interface;
};

struct Found {
  std::vector<FoundInterface> interfaces;
  std::vector<Route> routes;
  std::vector<Neighbour> neighbours;
};

/// Of the namespace of `socket`. Interfaces of Ethernet only, without those whose name starts with
/// `ignored_prefix`: loopback is each kernel's own, and what the kernel makes by itself (link-local
/// addresses, routes of an address) the guest's makes too.
Result<Found> scan(const NlSocket& socket, std::string_view ignored_prefix);

}  // namespace kata::network
