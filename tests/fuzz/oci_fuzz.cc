// config.json, a process, resources: what a client of containerd writes, parsed at both ends, and
// what the agent makes of it before it touches the kernel.
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>
#include <sys/mount.h>

#include "agent/container/exec_process.h"
#include "agent/container/sync.h"
#include "agent/isolation/device_filter.h"
#include "agent/isolation/namespaces.h"
#include "agent/isolation/seccomp.h"
#include "common/oci/cpu_list.h"
#include "common/oci/hooks.h"
#include "common/oci/parse.h"
#include "common/sys/mount.h"
#include "common/sys/mount_data.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/mutation.h"

namespace kata::fuzz {
namespace {

template <typename T>
void expect_refusal(const Result<T>& result, Code code) {
  if (result) return;
  expect(result.error().code() == code, "a refusal with another code");
  expect_readable(result.error());
}

/// A way through the kernel's limits, or a clear word; nothing is opened for options this short.
void take_mount(const oci::Mount& mount) {
  auto options = sys::parse_mount_options(mount.options);
  expect((options.attr_set & options.attr_clear & ~uint64_t{MOUNT_ATTR__ATIME}) == 0,
         "a mount attribute both set and cleared");
  expect(options.data.size() <= mount.options.size(), "options out of nothing");
  (void)sys::mount_flags(options.attr_set, options.superblock);
  for (const std::string& word : mount.options) (void)sys::parse_propagation(word);
}

void take_hooks(const oci::Spec& spec) {
  const oci::State state{"id", oci::kCreating, 1, "/bundle", spec.annotations};
  expect(nlohmann::json::accept(oci::to_json(state)), "a container's state that is no JSON");
  for (const auto* hooks :
       {&spec.hooks.prestart, &spec.hooks.create_runtime, &spec.hooks.create_container,
        &spec.hooks.start_container, &spec.hooks.poststart, &spec.hooks.poststop})
    for (const oci::Hook& hook : *hooks)
      expect(!oci::arguments_of(hook).empty(), "a hook without argv[0]");
}

void take_resources(const oci::Resources& resources) {
  (void)oci::not_enforced(resources);
  expect_refusal(isolation::device_access(resources.devices), Code::kInvalidArgument);
}

void take_spec(const oci::Spec& spec) {
  expect(!spec.process.args.empty() && spec.process.cwd.starts_with('/'), "a process without both");
  (void)oci::not_enforced(spec);
  (void)isolation::plan_namespaces(spec);
  for (const oci::Mount& mount : spec.mounts) take_mount(mount);
  take_hooks(spec);
  take_resources(spec.linux.resources);
  if (!spec.linux.seccomp) return;
  auto filter = isolation::compile_filter(*spec.linux.seccomp);
  if (!filter) expect_readable(filter.error());
}

/// The process of an exec in a container whose init is `init`.
void take_process(std::string_view text, const oci::Process& init) {
  auto process = oci::parse_process(text);
  expect_refusal(process, Code::kInvalidArgument);
  if (!process) return;
  (void)oci::not_enforced(*process);
  auto whole = container::complete_exec_process(text, init);
  expect(whole.has_value(), "an exec's process that cannot be completed");
  expect(oci::parse_process(*whole).has_value(), "a completed process that is none");
}

/// What the agent tells a container's init arrives as it was.
void take_config(std::string_view text) {
  (void)container::decode_config(text);
  container::InitConfig config{.rootfs = "/r", .json = std::string(text), .filter = "f"};
  config.container.hook_programs["/bin/hook"] = std::string(text);
  auto decoded = container::decode_config(container::encode_config(config));
  expect(decoded && decoded->json == text && decoded->rootfs == "/r" && decoded->filter == "f" &&
             decoded->container.hook_programs == config.container.hook_programs,
         "an init's configuration is not what was sent");
  (void)container::decode_error(text);
}

void take(std::string_view text) {
  oci::Process init;
  auto spec = oci::parse_spec(text);
  expect_refusal(spec, Code::kInvalidArgument);
  if (spec) {
    take_spec(*spec);
    init = spec->process;
  }
  take_process(text, init);
  if (spec) take_process(nlohmann::json::parse(text)["process"].dump(), init);
  auto resources = oci::parse_resources(text);
  expect_refusal(resources, Code::kInvalidArgument);
  if (resources) take_resources(*resources);
  expect_refusal(oci::parse_cpu_list(text), Code::kInvalidArgument);
  take_config(text);
}

}  // namespace
}  // namespace kata::fuzz

using namespace kata::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  take(as_text(data, size));
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  Random random(seed);
  return put_result(mutate_json(as_text(data, size), random), data, max_size);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* data, size_t size, const uint8_t* other,
                                            size_t other_size, uint8_t* out, size_t max_size,
                                            unsigned int seed) {
  Random random(seed);
  return put_result(cross_json(as_text(data, size), as_text(other, other_size), random), out,
                    max_size);
}
