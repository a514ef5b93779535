#include "agent/sandbox/clock.h"

#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

namespace kata::sandbox {
namespace {

using std::chrono::duration_cast;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr std::chrono::milliseconds kStep{500};
constexpr std::chrono::years kMost{100};

Status step_clock(nanoseconds gain) {
  timex change{};
  change.modes = ADJ_SETOFFSET | ADJ_NANO;
  const seconds whole = std::chrono::floor<seconds>(gain);
  change.time.tv_sec = whole.count();
  change.time.tv_usec = (gain - whole).count();
  if (adjtimex(&change) < 0) return fail_errno("step the clock");
  return {};
}

}  // namespace

nanoseconds wall_clock() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return seconds(now.tv_sec) + nanoseconds(now.tv_nsec);
}

Status adjust_clock(nanoseconds gain) {
  if (gain > kMost || gain < -kMost)
    return fail(Code::kOutOfRange, "the clock cannot gain {} ns", gain.count());
  if (std::chrono::abs(gain) >= kStep) return step_clock(gain);
  timeval slew{};
  slew.tv_usec = duration_cast<std::chrono::microseconds>(gain).count();
  if (adjtime(&slew, nullptr) != 0) return fail_errno("slew the clock");
  return {};
}

}  // namespace kata::sandbox
