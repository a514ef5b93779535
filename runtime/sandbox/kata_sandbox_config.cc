// The part of KataSandbox that is about its settings: the host's, and what a pod may change of them
// before its VM boots.
#include "common/log/log.h"
#include "runtime/sandbox/kata_sandbox.h"

namespace kata::sandbox {
namespace {

using config::Config;

/// The file that a client names only when it makes the container, as CRI-O does; containerd does
/// before, and the shim has read it.
Result<Config> load(const std::filesystem::path& file, const Config& host) {
  auto loaded = config::load_file(file);
  if (!loaded) return std::unexpected(loaded.error().with_stage("the runtime's options"));
  // Where the sandbox is has been written down already.
  if (loaded->runtime.state_root != host.runtime.state_root)
    return fail(Code::kFailedPrecondition,
                "configuration {} [runtime] state_root is {}, but the shim has started with {}: "
                "name the file in KATA_CONF_FILE, too, or set the same in {}",
                file.native(), loaded->runtime.state_root.native(),
                host.runtime.state_root.native(), config::describe_sources(host));
  if (loaded->runtime.log_level == log::Level::kDebug) log::set_level(log::Level::kDebug);
  log::info("configuration loaded", {{"source", config::describe_sources(*loaded)}});
  return loaded;
}

}  // namespace

Status KataSandbox::annotate(const config::Annotations& annotations) {
  return configure({}, annotations);
}

/// For a container whose pod has its VM only a check.
Status KataSandbox::configure(const std::filesystem::path& config_path,
                              const config::Annotations& annotations) {
  if (boot_) return check_as_of_pod(annotations);
  Config config = host_config_;
  if (!config_path.empty() && config_path != host_config_.source) {
    KATA_TRY(config, load(config_path, host_config_));
  }
  KATA_CHECK(config::apply_annotations(annotations, config::host_size(), config));
  options_.config = std::move(config);
  pod_annotations_ = annotations;
  if (parts_.remake) parts_ = parts_.remake(options_);
  return {};
}

/// Containers of a pod have its annotations again. Others would change a VM that runs.
Status KataSandbox::check_as_of_pod(const config::Annotations& annotations) const {
  KATA_CHECK(config::check_annotation_names(annotations));
  for (const auto& [name, value] : annotations) {
    if (!config::is_of_runtime(name)) continue;
    const auto of_pod = pod_annotations_.find(name);
    if (of_pod == pod_annotations_.end() || of_pod->second != value)
      return fail(Code::kFailedPrecondition,
                  "annotation {} of a container comes too late, its pod's VM runs: annotate the "
                  "pod, and have containerd hand it on (pod_annotations)",
                  name);
  }
  return {};
}

}  // namespace kata::sandbox
