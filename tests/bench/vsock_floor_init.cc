// PID 1 of the floor of `tools/bench stdio`: sends zeros over one vsock connection to the host
// until the host has enough of them.

#include <linux/vm_sockets.h>

#include "tests/bench/freestanding.h"
#include "tests/bench/guest_modules.h"
#include "tests/bench/vsock_floor.h"

namespace {

using kata::bench::address_of;
using kata::bench::system_call;

constexpr long kWrite = 1;
constexpr long kSocket = 41;
constexpr long kConnect = 42;

constexpr long kVsockFamily = 40;
constexpr long kStream = 1;

// Several packets at once, as a program has them ready that writes as fast as it can.
char zeros[256 * 1024];

long connect_to_host() {
  const long socket = system_call(kSocket, kVsockFamily, kStream);
  sockaddr_vm host{};
  host.svm_family = kVsockFamily;
  host.svm_port = kata::bench::kFloorPort;
  host.svm_cid = VMADDR_CID_HOST;
  return system_call(kConnect, socket, address_of(&host), sizeof host) == 0 ? socket : -1;
}

}  // namespace

extern "C" [[noreturn]] void _start() {
  kata::bench::load_modules("/etc/kata/modules");
  const long host = connect_to_host();
  if (host < 0) kata::bench::print("no vsock connection to the host\n");
  while (host >= 0 && system_call(kWrite, host, address_of(zeros), sizeof zeros) > 0) {
  }
  kata::bench::power_off();
}
