// A container's config.json as the guest must see it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

#include "common/oci/spec.h"
#include "runtime/agent_client/agent.h"
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

/// The container whose namespaces a pod's other containers join: they name it by the pid that the
/// host knows it by, the VM's.
struct PodInit {
  uint32_t host_pid = 0;
  uint32_t guest_pid = 0;  // 0: it is not there
};

/// The JSON for the agent: every bind mount whose source is on the host gets a place on the share
/// (through `storage`) and that place's guest path as source. Sources below /dev, /proc and /sys
/// name the guest's own, as does CRI's /dev/shm of the pod. Namespaces of the pod's init get the
/// guest's path. Hooks that run on the host are left out. The program of a createContainer hook
/// gets a place in the same way, if the host has such a file. `on_disks` are the mounts, by index,
/// whose sources are disks of the VM, for which the guest finds a place. FailedPrecondition: the
/// container wants a namespace of the pod's init, and that is not there.
Result<agent_client::ContainerSpec> make_guest_spec(const BundleSpec& bundle, const PodInit& init,
                                                    const std::set<uint32_t>& on_disks,
                                                    storage::ContainerStorage& storage);

}  // namespace kata::sandbox
