// The guest's network cards as the kernel has them.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "common/network/netlink.h"
#include "common/network/network.h"

namespace kata::network {

struct Link {
  int index = 0;
  std::string name;
  std::string mac;
  bool is_running = false;  // up, and its link is
};

Result<std::vector<Link>> read_links(const NlSocket& socket);

/// The index of the card of each interface, by the interface's name, as soon as all are there: they
/// are hot-plugged. NotFound: one has not come within `limit`.
Result<std::map<std::string, int>> await_cards(const NlSocket& socket,
                                               const std::vector<Interface>& interfaces,
                                               std::chrono::seconds limit);

/// Gives each of these cards the name of its interface. A card must be down for it, as new ones
/// are.
Status rename_cards(const NlSocket& socket, const std::map<std::string, int>& cards);

/// MTU, whether it is up, and whether it asks for addresses.
Status set_link(const NlSocket& socket, int index, const Interface& wanted);

/// Until the kernel says of all of these that their links are up: what is sent before is lost. No
/// longer than `limit`, for a link that the host has down.
Status await_carriers(const NlSocket& socket, const std::vector<int>& indices,
                      std::chrono::seconds limit);

}  // namespace kata::network
