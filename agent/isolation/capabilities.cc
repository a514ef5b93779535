#include "agent/isolation/capabilities.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/capability.h>

#include "agent/isolation/call_error.h"

namespace kata::isolation {

namespace {

std::vector<cap_value_t> known_values(const std::vector<std::string>& names) {
  std::vector<cap_value_t> values;
  for (std::string name : names) {
    // As runc: what is not written as the specification writes it is unknown.
    if (std::ranges::any_of(name, [](unsigned char c) { return std::islower(c) != 0; })) continue;
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    cap_value_t value = 0;
    if (::cap_from_name(name.c_str(), &value) < 0) continue;
    // The kernel answers an error for what it does not know.
    if (::cap_get_bound(value) >= 0) values.push_back(value);
  }
  return values;
}

Status set_flag(cap_t caps, cap_flag_t flag, const std::vector<std::string>& names) {
  auto values = known_values(names);
  if (!values.empty() &&
      ::cap_set_flag(caps, flag, static_cast<int>(values.size()), values.data(), CAP_SET) < 0)
    return fail_call("unable to apply caps");
  return {};
}

}  // namespace

Status drop_bounding(const oci::Capabilities& sets) {
  auto kept = known_values(sets.bounding);
  for (cap_value_t value = 0; ::cap_get_bound(value) >= 0; ++value) {
    if (std::ranges::find(kept, value) != kept.end() || ::cap_get_bound(value) == 0) continue;
    if (::cap_drop_bound(value) < 0) return fail_call("unable to apply bounding set");
  }
  return {};
}

Status apply_capabilities(const oci::Capabilities& sets) {
  std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)> caps(::cap_init(), ::cap_free);
  if (!caps) return fail_call("unable to apply caps");
  KATA_CHECK(set_flag(caps.get(), CAP_PERMITTED, sets.permitted));
  KATA_CHECK(set_flag(caps.get(), CAP_EFFECTIVE, sets.effective));
  KATA_CHECK(set_flag(caps.get(), CAP_INHERITABLE, sets.inheritable));
  if (::cap_set_proc(caps.get()) < 0) return fail_call("unable to apply caps");
  if (::cap_reset_ambient() < 0) return fail_call("unable to reset ambient caps");
  for (auto value : known_values(sets.ambient)) {
    // One that is not permitted and inheritable cannot be ambient: such specs exist, and runc
    // starts them without it.
    const bool refused = ::cap_set_ambient(value, CAP_SET) < 0 && errno != EPERM;
    if (refused) return fail_call("unable to apply ambient caps");
  }
  return {};
}

}  // namespace kata::isolation
