// An interface of the pod's namespace joined to a tap: what comes in at one leaves by the other, by
// tc's ingress hook, so that the guest is on the interface's link with the interface's addresses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/network/netlink.h"

namespace kata::network {

/// A tap in the namespace that the calling thread is in; it lives as long as somebody has a
/// descriptor of it.
struct Tap {
  std::vector<UniqueFd> queues;
  int index = 0;
};

/// FailedPrecondition: there is an interface of this name. NotFound: no /dev/net/tun.
Result<Tap> open_tap(const std::string& name, uint32_t queues);

Status set_up(const NlSocket& socket, int index, uint32_t mtu);

/// A qdisc, ingress too, gives an interface without a queue a length for one: back to what it was.
Status set_queue_length(const NlSocket& socket, int index, uint32_t packets);

/// Both ways. FailedPrecondition: `interface` has an ingress of somebody else.
Status redirect(const NlSocket& socket, int interface, int tap);

/// Takes redirect() back at `interface`; the tap's side goes with the tap. An interface that has
/// gone is no error.
Status end_redirect(const NlSocket& socket, int interface);

}  // namespace kata::network
