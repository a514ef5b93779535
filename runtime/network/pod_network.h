// The VM's part in its pod's network: each interface of the pod's namespace gets a network card in
// the guest, with the same MAC, on the same link.
//
// The namespace is the one that this process lives in, from before its first thread on. What CNI
// has made there stays as it is, but for an ingress qdisc while the VM runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "common/network/network.h"

namespace kata::network {

/// What a network card of the guest is made of. The descriptors stay open until QEMU has them.
struct Card {
  /// In the namespace.
  std::string interface;
  std::string mac;
  /// Of one tap, one for each of its queues.
  std::vector<UniqueFd> queues;
  /// Of /dev/vhost-net, one for each queue; none where the host has no such device.
  std::vector<UniqueFd> vhosts;
};

/// More are not made: with vhost-net each is a thread of the host's kernel.
inline constexpr uint32_t kMaxQueues = 16;

/// Used on one thread; the calls are requests to the kernel and wait for nothing else. Destroyed:
/// disconnect_all().
class PodNetwork {
 public:
  virtual ~PodNetwork() = default;

  /// Which of the interfaces without a card.
  enum class Which {
    kAll,
    /// Not those that could not get one before, and that give_up() named: each attempt is news to
    /// events().
    kUntried,
  };
  /// A card for each interface that has come since the last call, each with `queues`, 1 to
  /// kMaxQueues: a processor's own. Where one cannot be made, the error names its interface, and
  /// none of this call is there.
  virtual Result<std::vector<Card>> connect_new(Which which, uint32_t queues) = 0;

  /// What the guest is to have now, of the interfaces that have a card.
  virtual Result<Network> read() = 0;

  /// Readable when something has changed, perhaps by a call of this; take_events() makes it
  /// unreadable again.
  virtual int events() const = 0;
  virtual void take_events() = 0;

  /// Once: a non-blocking socket that accepts every TCP connection made to the namespace's
  /// loopback, which getsockname(2) tells the port of. Empty where the kernel cannot do it.
  virtual UniqueFd take_loopback() = 0;

  /// Leaves interfaces as they were found. Goes on after a failure and answers the first.
  virtual Status give_up(const std::vector<Card>& cards) = 0;
  virtual Status disconnect_all() = 0;
};

/// FailedPrecondition or what the kernel says.
Result<std::unique_ptr<PodNetwork>> open_pod_network();

}  // namespace kata::network
