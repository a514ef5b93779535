#include "runtime/hypervisor/resize.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "runtime/hypervisor/device_rendering.h"

namespace kata::hypervisor {
namespace {

using nlohmann::json;
using RunningPtr = std::shared_ptr<RunningQemu>;

constexpr uint64_t kBytesPerMib = 1024 * 1024;
/// QEMU's names of devices that were added by an id.
constexpr std::string_view kAddedDevices = "/machine/peripheral/";

/// A place for a processor, as query-hotpluggable-cpus says.
struct Place {
  std::string type;
  json properties;
  uint64_t core = 0;
  bool taken = false;
};

/// The member, or its type's empty value: a QEMU that its guest has taken over says anything.
template <typename T>
T member(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return T{};
  const T* value = found->get_ptr<const T*>();
  return value ? *value : T{};
}

Async<std::vector<Place>> query_places(RunningPtr running) {
  KATA_CO_TRY(const json answer, co_await running->qmp->execute("query-hotpluggable-cpus"));
  std::vector<Place> places;
  for (const json& entry : answer) {
    Place place;
    place.type = member<std::string>(entry, "type");
    place.properties = json(member<json::object_t>(entry, "props"));
    place.core = member<uint64_t>(place.properties, "core-id");
    place.taken = entry.contains("qom-path");
    places.push_back(std::move(place));
  }
  std::ranges::sort(places, {}, &Place::core);
  co_return places;
}

Async<void> plug(RunningPtr running, Place place) {
  json device = place.properties;
  device["driver"] = place.type;
  device["id"] = fmt::format("cpu{}", place.core);
  KATA_CO_CHECK(co_await running->qmp->execute("device_add", device));
  co_return Status{};
}

Async<uint64_t> query_memory(RunningPtr running) {
  KATA_CO_TRY(const json devices, co_await running->qmp->execute("query-memory-devices"));
  for (const json& device : devices)
    if (const json data(member<json::object_t>(device, "data"));
        member<std::string>(data, "id") == kHotMemoryId)
      co_return member<uint64_t>(data, "size") / kBytesPerMib;
  co_return fail(Code::kFailedPrecondition, "this VM's memory has a fixed size");
}

}  // namespace

Async<void> plug_vcpus_of(RunningPtr running, uint32_t count) {
  KATA_CO_TRY(const std::vector<Place> places, co_await query_places(running));
  if (count > places.size())
    co_return fail(Code::kInvalidArgument, "{} processors, this VM takes {}", count, places.size());
  auto present = static_cast<size_t>(std::ranges::count(places, true, &Place::taken));
  for (const Place& place : places) {
    if (present >= count) break;
    if (place.taken) continue;
    KATA_CO_CHECK(co_await plug(running, place));
    ++present;
  }
  co_return Status{};
}

Async<void> request_memory_of(RunningPtr running, uint64_t mib) {
  const json property = {{"path", std::string(kAddedDevices) + kHotMemoryId},
                         {"property", "requested-size"},
                         {"value", mib * kBytesPerMib}};
  KATA_CO_CHECK(co_await running->qmp->execute("qom-set", property));
  running->requested_memory_mib = mib;
  co_return Status{};
}

Async<void> await_memory_of(RunningPtr running, std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    // QEMU reports several changes within a second as one: the event says when to look.
    const sys::Event changed = running->memory_changed;
    KATA_CO_TRY(const uint64_t present, co_await query_memory(running));
    const uint64_t wanted = running->requested_memory_mib;
    if (present == wanted) co_return Status{};
    const auto rest =
        std::chrono::ceil<std::chrono::seconds>(deadline - std::chrono::steady_clock::now());
    Status waited = fail(Code::kDeadlineExceeded, "");
    // One that changes all the time does not become right by that.
    if (rest.count() > 0) waited = co_await running->await_event(changed.wait(), rest);
    if (waited) continue;
    if (waited.error().code() != Code::kDeadlineExceeded) co_return waited;
    co_return fail(Code::kDeadlineExceeded,
                   "the guest has {} MiB of the memory that comes and goes, not the {} MiB it was "
                   "asked to have",
                   present, wanted);
  }
}

}  // namespace kata::hypervisor
