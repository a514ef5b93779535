#include "runtime/sandbox/guest_filter.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "common/oci/parse.h"
#include "runtime/sandbox/pod_rules.h"

namespace kata::sandbox {
namespace {

using nlohmann::json;

/// "/a/b": the member b of the object a.
std::string without(std::string text, const std::vector<std::string>& pointers) {
  auto named = [&](const std::string& pointer) {
    return text.find('"' + pointer.substr(pointer.rfind('/') + 1) + '"') != std::string::npos;
  };
  if (std::ranges::none_of(pointers, named) || !oci::check_bounds(text, "specification"))
    return text;
  json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  for (const auto& pointer : pointers) {
    const json::json_pointer member(pointer);
    if (!document.contains(member)) continue;
    json& parent = document[member.parent_pointer()];
    if (parent.is_object()) parent.erase(member.back());
  }
  return document.is_discarded() ? text : document.dump();
}

}  // namespace

GuestFilter::GuestFilter(const config::Hypervisor& settings, const oci::Spec& spec)
    : apparmor_(settings.disable_guest_apparmor),
      selinux_(settings.disable_guest_selinux),
      processors_(is_of_cri(spec)) {
  auto note = [this](bool filtered, const std::string& value, const char* path) {
    if (filtered && !value.empty()) taken_away_.emplace_back(path);
  };
  note(apparmor_, spec.process.apparmor_profile, "process.apparmorProfile");
  note(selinux_, spec.process.selinux_label, "process.selinuxLabel");
  note(selinux_, spec.linux.mount_label, "linux.mountLabel");
  note(processors_, spec.linux.resources.cpu.cpus, "linux.resources.cpu.cpus");
  note(processors_, spec.linux.resources.cpu.mems, "linux.resources.cpu.mems");
}

std::string GuestFilter::of_spec(std::string json) const {
  if (taken_away_.empty()) return json;
  std::vector<std::string> pointers;
  for (std::string path : taken_away_) {
    std::ranges::replace(path, '.', '/');
    pointers.push_back("/" + path);
  }
  return without(std::move(json), pointers);
}

std::string GuestFilter::of_process(std::string json) const {
  std::vector<std::string> pointers;
  if (apparmor_) pointers.emplace_back("/apparmorProfile");
  if (selinux_) pointers.emplace_back("/selinuxLabel");
  return without(std::move(json), pointers);
}

std::string GuestFilter::of_resources(std::string json) const {
  if (!processors_) return json;
  return without(std::move(json), {"/cpu/cpus", "/cpu/mems"});
}

}  // namespace kata::sandbox
