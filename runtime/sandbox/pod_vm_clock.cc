// The part of PodVm that keeps the guest's clock to the host's while the pod runs: the host's is
// corrected by its administrator, by NTP and after a sleep, and the guest's kernel hears of none of
// that.
#include <optional>

#include "common/log/log.h"
#include "runtime/sandbox/pod_vm.h"

namespace kata::sandbox {
namespace {

using std::chrono::nanoseconds;
using Wall = std::chrono::system_clock;

/// On a busy machine an answer can take long; one that comes soon says more.
constexpr int kReadings = 3;
constexpr std::chrono::milliseconds kSoon{50};
/// Nobody minds.
constexpr std::chrono::milliseconds kTolerance{1};

/// How far the guest's clock is ahead, as far as an answer that took some time can tell.
struct ClockReading {
  nanoseconds ahead{};
  nanoseconds uncertainty{};

  bool is_right() const { return std::chrono::abs(ahead) <= uncertainty + kTolerance; }
  /// What it is ahead at least: no answer that came late makes a clock wrong.
  nanoseconds surely_ahead() const {
    return ahead > nanoseconds(0) ? ahead - uncertainty : ahead + uncertainty;
  }
};

}  // namespace

asio::awaitable<void> PodVm::keep_clock() {
  auto self = shared_from_this();
  auto pause = parts_.clock_checks.first;
  for (;;) {
    const auto gone = co_await gone_.wait_for(pause);
    if (gone) co_return;
    pause = parts_.clock_checks.interval;
    Status checked = co_await check_clock();
    // The usual reason is that the VM has gone.
    if (!checked) log::debug("the guest's clock", {{"error", checked.error().message()}});
  }
}

Async<void> PodVm::check_clock() {
  std::optional<ClockReading> best;
  for (int i = 0; i < kReadings; ++i) {
    const auto asked = std::chrono::steady_clock::now();
    KATA_CO_TRY(const nanoseconds guest, co_await agent_->adjust_clock(nanoseconds(0)));
    const nanoseconds half = (std::chrono::steady_clock::now() - asked) / 2;
    const nanoseconds host = Wall::now().time_since_epoch() - half;
    const ClockReading reading{.ahead = guest - host, .uncertainty = half};
    if (!best || reading.uncertainty < best->uncertainty) best = reading;
    if (best->is_right() && best->uncertainty <= kSoon) co_return Status{};
  }
  if (best->is_right()) co_return Status{};
  auto adjusted = co_await agent_->adjust_clock(-best->surely_ahead());
  if (!adjusted) co_return std::unexpected(adjusted.error());
  log::info("the guest's clock is corrected",
            {{"ahead_us", std::to_string(best->ahead.count() / 1000)},
             {"uncertainty_us", std::to_string(best->uncertainty.count() / 1000)}});
  co_return Status{};
}

}  // namespace kata::sandbox
