// What is on the host for one sandbox, on disk, so that `containerd-shim-kata-v2 delete` can remove
// it after every other process of ours has been killed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/error/error.h"
#include "runtime/hypervisor/hypervisor.h"

namespace kata::sandbox {

/// A process of the sandbox other than the VM (virtiofsd).
struct HelperProcess {
  pid_t pid = -1;
  uint64_t start_time = 0;  // field 22 of /proc/<pid>/stat
};

struct State {
  std::string sandbox_id;
  std::string nspace;
  hypervisor::VmIdentity vm;
  std::vector<HelperProcess> helpers;
  std::vector<std::filesystem::path> cgroups;
};

/// Name of a sandbox's directory under the state root: 16 hex digits that stand for containerd's
/// address, namespace and the sandbox id, so that two containerds never meet and socket paths stay
/// short.
std::string run_dir_key(std::string_view containerd_address, std::string_view nspace,
                        std::string_view sandbox_id);

/// Writes <run_dir>/state.json atomically (0600).
Status save_state(const std::filesystem::path& run_dir, const State& state);
/// NotFound when there is none; FailedPrecondition when it cannot be understood.
Result<State> load_state(const std::filesystem::path& run_dir);

/// Ends every process that `run_dir`'s state names, removes their control groups, unmounts what
/// lies below it and removes it. Harmless when nothing is left and when run twice. Blocking; for
/// the `delete` command.
Status remove_leftovers(const std::filesystem::path& run_dir);

}  // namespace kata::sandbox
