#include "common/sys/loop.h"

#include <cerrno>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

namespace kata::sys {
namespace {

constexpr const char* kLoopControl = "/dev/loop-control";
/// Everybody who asks at the same time is given the same free device; one of them gets it.
constexpr int kTries = 100;

}  // namespace

Result<LoopDevice> attach_loop(const std::filesystem::path& image, bool read_only) {
  const int access = read_only ? O_RDONLY : O_RDWR;
  // A FIFO must not wait for its other end.
  UniqueFd file(open(image.c_str(), access | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno(fmt::format("loop: open {}", image.native()));
  UniqueFd control(open(kLoopControl, O_RDWR | O_CLOEXEC));
  if (!control) return fail_errno(fmt::format("loop: open {}", kLoopControl));
  loop_config config{};
  config.fd = static_cast<uint32_t>(file.get());
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0);
  for (int i = 0; i < kTries; ++i) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return fail_errno("loop: find a free device");
    LoopDevice loop;
    loop.path = fmt::format("/dev/loop{}", number);
    loop.device.reset(open(loop.path.c_str(), access | O_CLOEXEC));
    if (!loop.device) return fail_errno(fmt::format("loop: open {}", loop.path));
    if (ioctl(loop.device.get(), LOOP_CONFIGURE, &config) == 0) return loop;
    if (errno != EBUSY) return fail_errno(fmt::format("loop: attach {}", image.native()));
  }
  return fail(Code::kResourceExhausted, "loop: attach {}: no device was free after {} tries",
              image.native(), kTries);
}

}  // namespace kata::sys
