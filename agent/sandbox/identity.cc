#include "agent/sandbox/identity.h"

#include <algorithm>

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/base/unique_fd.h"

namespace kata::sandbox {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr size_t kMaxEntropyBytes = 256;
constexpr int kBitsPerByte = 8;

/// struct rand_pool_info of linux/random.h, with room for its bytes.
struct EntropyPool {
  int entropy_bits = 0;
  int size_bytes = 0;
  char bytes[kMaxEntropyBytes] = {};
};

}  // namespace

Status mix_in_entropy(std::string_view entropy) {
  if (entropy.empty()) return {};
  if (entropy.size() > kMaxEntropyBytes) {
    return fail(Code::kInvalidArgument, "{} bytes of entropy, at most {} are taken", entropy.size(),
                kMaxEntropyBytes);
  }
  EntropyPool pool;
  pool.size_bytes = static_cast<int>(entropy.size());
  pool.entropy_bits = pool.size_bytes * kBitsPerByte;
  std::ranges::copy(entropy, pool.bytes);
  UniqueFd device(open("/dev/random", O_RDWR | O_CLOEXEC));
  if (!device) return fail_errno("open /dev/random");
  if (ioctl(device.get(), RNDADDENTROPY, &pool) != 0) return fail_errno("add entropy");
  // Without it the generator would go on with its old key for up to a minute.
  if (ioctl(device.get(), RNDRESEEDCRNG) != 0) return fail_errno("reseed the kernel's random");
  return {};
}

Status set_hostname(const std::string& hostname) {
  if (hostname.empty()) return {};
  if (sethostname(hostname.data(), hostname.size()) != 0) {
    return fail_errno(fmt::format("set the host name \"{}\"", hostname));
  }
  return {};
}

Status set_clock(int64_t host_unix_ns, std::chrono::nanoseconds max_age) {
  if (host_unix_ns <= 0) return {};
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  int64_t ahead_ns = now.tv_sec * kNanosecondsPerSecond + now.tv_nsec - host_unix_ns;
  if (ahead_ns >= 0 && ahead_ns <= max_age.count()) return {};
  timespec host{};
  host.tv_sec = host_unix_ns / kNanosecondsPerSecond;
  host.tv_nsec = host_unix_ns % kNanosecondsPerSecond;
  if (clock_settime(CLOCK_REALTIME, &host) != 0) return fail_errno("set the clock");
  return {};
}

}  // namespace kata::sandbox
