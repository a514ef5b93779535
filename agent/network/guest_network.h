// The guest's part of the pod's network: what the pod's namespace has on the host, made again here.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "common/error/error.h"
#include "common/network/netlink.h"
#include "common/network/network.h"

namespace kata::network {

/// Any thread. What containers have set up themselves stays.
class GuestNetwork {
 public:
  /// The whole network, each time: what was wanted before and is not any more goes. NotFound: a
  /// card has not come. InvalidArgument: an address or a name that is none.
  Status update(const Network& wanted);

 private:
  Status apply(const Network& wanted);

  /// Of one update at a time, which may wait for a card: nothing else takes it.
  std::mutex updating_;
  Network applied_;  // guarded by updating_
};

}  // namespace kata::network
