// A container's config.json as the guest must see it.
#pragma once

#include <filesystem>
#include <string>

#include "common/oci/spec.h"
#include "runtime/storage/container_storage.h"

namespace kata::sandbox {

struct BundleSpec {
  std::filesystem::path bundle;
  std::string json;
  oci::Spec spec;
};

/// Reads and checks <bundle>/config.json. NotFound: there is none. InvalidArgument: names the JSON
/// path of what is wrong.
Result<BundleSpec> read_bundle(const std::filesystem::path& bundle);

/// The JSON for the agent: every bind mount whose source is on the host gets a place on the share
/// (through `storage`) and that place's guest path as source. Sources below /dev, /proc and /sys
/// name the guest's own.
Result<std::string> make_guest_spec(const BundleSpec& bundle, storage::ContainerStorage& storage);

}  // namespace kata::sandbox
