#include "agent/network/queues.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/base/unique_fd.h"

namespace kata::network {
namespace {

/// ethtool's commands about channels, which are a card's queues for both directions.
bool exchange(int socket, const char* interface, ethtool_channels& channels) {
  ifreq request{};
  std::strncpy(request.ifr_name, interface, sizeof(request.ifr_name) - 1);
  request.ifr_data = reinterpret_cast<char*>(&channels);
  return ::ioctl(socket, SIOCETHTOOL, &request) == 0;
}

Status use_queues_of(int socket, const char* interface, uint32_t count) {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  if (!exchange(socket, interface, channels)) return {};
  const uint32_t wanted = std::min(count, channels.max_combined);
  if (wanted == 0 || wanted == channels.combined_count) return {};
  channels.cmd = ETHTOOL_SCHANNELS;
  channels.combined_count = wanted;
  if (!exchange(socket, interface, channels))
    return fail_errno(fmt::format("{} queues of {}", wanted, interface));
  return {};
}

}  // namespace

Status use_queues(uint32_t count) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  const std::unique_ptr<struct if_nameindex, decltype(&::if_freenameindex)> interfaces(
      ::if_nameindex(), &::if_freenameindex);
  if (!interfaces) return fail_errno("list the network cards");
  Status first_failure;
  for (const struct if_nameindex* one = interfaces.get(); one->if_index != 0; ++one) {
    Status used = use_queues_of(socket.get(), one->if_name, count);
    if (!used && first_failure) first_failure = std::unexpected(used.error());
  }
  return first_failure;
}

}  // namespace kata::network
