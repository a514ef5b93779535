// The part of PodVm that is about templates: a guest that booted once, saved, and continued by the
// VMs of many pods (docs/adr: template start).
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log/log.h"
#include "common/sys/blocking.h"
#include "common/sys/sparse_copy.h"
#include "runtime/hypervisor/command_line.h"
#include "runtime/sandbox/pod_vm.h"
#include "runtime/sandbox/timeline.h"

namespace kata::sandbox {
namespace {

using factory::Draft;
using factory::Recipe;
using factory::SavedVm;
using hypervisor::VmConfig;

constexpr uint64_t kBytesPerMib = 1024 * 1024;

Result<UniqueFd> make_guest_memory(uint64_t memory_mib) {
  UniqueFd memory(::memfd_create("guest-ram", MFD_CLOEXEC));
  if (!memory) return fail_errno("guest memory: memfd_create");
  if (::ftruncate(memory.get(), static_cast<off_t>(memory_mib * kBytesPerMib)) != 0)
    return fail_errno("guest memory: ftruncate");
  return memory;
}

/// What a template and its clones have that a VM which boots for itself has not.
VmConfig for_template(VmConfig vm, int memory_fd) {
  vm.memory_fd = memory_fd;
  vm.hotplug_ports = kRootPorts;
  return vm;
}

/// Between what fails because QEMU or virtiofsd has ended and the news of that end.
constexpr std::chrono::milliseconds kProcessEndLimit{500};

/// Whether another try can end otherwise although nothing was changed. InvalidArgument is of one
/// pod's devices: more than a slot takes.
bool is_passing(const Error& error) {
  return error.code() == Code::kResourceExhausted || error.code() == Code::kCancelled ||
         error.code() == Code::kAborted || error.code() == Code::kInvalidArgument;
}

}  // namespace

Result<Recipe> PodVm::template_recipe() const {
  // What the template and its clones are told alike; the descriptor only has to be one.
  const VmConfig vm = for_template(base_, STDIN_FILENO);
  KATA_TRY(const auto line, hypervisor::render_command_line(vm, STDIN_FILENO));
  Recipe recipe;
  recipe.files = {vm.qemu_path, vm.kernel, vm.initrd};
  recipe.settings = fmt::to_string(fmt::join(line.arguments, "\n"));
  return recipe;
}

asio::awaitable<std::optional<SavedVm>> PodVm::find_template() {
  auto saved = co_await open_or_make_template();
  if (saved) co_return std::move(*saved);
  if (options_.config.is_annotated && saved.error().code() == Code::kNotFound)
    log::info("the guest boots: there is no template of what its pod's annotations ask for");
  else if (saved.error().code() == Code::kUnavailable)
    log::info("the guest boots: its template is being made for another pod");
  else if (!aborted_)
    log::warning("the guest boots, without a template", {{"error", saved.error().message()}});
  co_return std::nullopt;
}

Async<SavedVm> PodVm::open_or_make_template() {
  KATA_CO_TRY(const Recipe recipe, template_recipe());
  auto saved = parts_.templates->open(recipe);
  if (saved || saved.error().code() != Code::kNotFound) co_return saved;
  // Templates that pods ask for would fill the host, one for each value that somebody thinks of.
  if (options_.config.is_annotated) co_return saved;
  co_return co_await make_and_open_template(recipe);
}

Async<void> PodVm::provide_template() {
  auto self = shared_from_this();
  KATA_CO_CHECK(describe_base());
  KATA_CO_TRY(const Recipe recipe, template_recipe());
  if (parts_.templates->open(recipe)) co_return Status{};
  KATA_CO_CHECK(make_run_dir());
  auto made = co_await make_and_open_template(recipe);
  Status stopped = co_await stop();
  if (!made) co_return std::unexpected(made.error());
  co_return stopped;
}

Async<std::shared_ptr<Draft>> PodVm::begin_template(Recipe recipe) {
  // Reads QEMU, kernel and initrd whole.
  std::function<Result<std::shared_ptr<Draft>>()> begin = [store = parts_.templates, recipe] {
    return store->begin(recipe);
  };
  co_return co_await sys::run_blocking<std::shared_ptr<Draft>>(executor_, std::move(begin));
}

Async<SavedVm> PodVm::make_and_open_template(Recipe recipe) {
  KATA_CO_TRY(auto draft, co_await begin_template(recipe));
  KATA_CO_CHECK(check_not_aborted());
  SandboxOptions options = options_;
  // Below ours, so that whoever cleans up after a killed shim finds it too.
  options.run_dir_key = options_.run_dir_key + "/template";
  auto maker = std::make_shared<PodVm>(executor_, std::move(options), parts_);
  template_vm_ = maker;
  Status made = co_await maker->make_template(draft);
  template_vm_.reset();
  KATA_CO_CHECK(check_not_aborted());
  if (made) made = draft->publish();
  if (!made) {
    Status noted;
    if (!is_passing(made.error())) noted = draft->publish_failure(made.error().message());
    if (!noted) log::warning("template", {{"error", noted.error().message()}});
    co_return std::unexpected(made.error().with_stage("template"));
  }
  mark_stage("template made");
  co_return parts_.templates->open(recipe);
}

Async<void> PodVm::make_template(std::shared_ptr<Draft> draft) {
  auto self = shared_from_this();
  log::info("making a template");
  Status made = co_await run_template_steps(draft);
  if (!made) {
    Error error = co_await with_console(made.error());
    error = co_await with_cause(std::move(error));
    made = std::unexpected(std::move(error));
  }
  Status stopped = co_await stop();
  if (!stopped) log::error("clean up after a template", {{"error", stopped.error().message()}});
  co_return made;
}

Async<void> PodVm::run_template_steps(std::shared_ptr<Draft> draft) {
  KATA_CO_CHECK(describe_base());
  KATA_CO_CHECK(make_run_dir());
  KATA_CO_CHECK(open_transport());
  KATA_CO_CHECK(listen_to_console());
  KATA_CO_TRY(const UniqueFd memory, make_guest_memory(base_.memory_mib));
  VmConfig vm = for_template(describe_vm(), memory.get());
  vm.devices = {vsock_->device()};
  KATA_CO_CHECK(co_await launch(vm));
  KATA_CO_CHECK(check_not_aborted());
  KATA_CO_CHECK(co_await await_ready());
  // The first calls of a process cost the most: they are behind every clone.
  KATA_CO_CHECK(co_await connect_agent());
  KATA_CO_CHECK(co_await agent_->prepare_template());
  agent_.reset();  // with its connection, before the device goes
  KATA_CO_CHECK(co_await vm_->detach(kPodPort));
  KATA_CO_CHECK(check_not_aborted());
  KATA_CO_CHECK(co_await vm_->save(draft->device_state()));
  const uint64_t size = vm.memory_mib * kBytesPerMib;
  std::function<Status()> copy = [from = memory.get(), draft, size]() -> Status {
    if (::ftruncate(draft->memory(), static_cast<off_t>(size)) != 0)
      return fail_errno("template: ftruncate");
    return sys::copy_sparse(from, draft->memory(), size);
  };
  co_return co_await sys::run_blocking<void>(executor_, std::move(copy));
}

Async<void> PodVm::continue_template(SavedVm saved, VmWanted wanted) {
  continues_template_ = true;
  has_hot_memory_ =
      (wanted.resizable || wanted.demand.memory_mib > 0) && base_.max_memory_mib > base_.memory_mib;
  KATA_CO_TRY(const UniqueFd memory, make_guest_memory(base_.memory_mib));
  VmConfig vm = for_template(describe_vm(), memory.get());
  vm.for_restore = true;
  // A copy of its own: what the devices' back ends map cannot be copied on write.
  std::function<Status()> copy = [from = saved.memory.get(), to = memory.get(),
                                  size = vm.memory_mib * kBytesPerMib]() -> Status {
    return sys::copy_sparse(from, to, size);
  };
  using namespace asio::experimental::awaitable_operators;
  Async<void> copying = sys::run_blocking<void>(executor_, std::move(copy));
  Async<void> launching = launch(vm);
  auto [copied, launched] = co_await (std::move(copying) && std::move(launching));
  KATA_CO_CHECK(std::move(launched));
  KATA_CO_CHECK(std::move(copied));
  KATA_CO_CHECK(check_not_aborted());
  KATA_CO_CHECK(co_await vm_->restore(saved.device_state.get()));
  KATA_CO_CHECK(co_await vm_->attach(pod_devices(vm), kPodPort));
  KATA_CO_CHECK(co_await vm_->resume());
  co_return Status{};
}

/// Aborted, when somebody on the host ended QEMU or virtiofsd: that says nothing of the template.
asio::awaitable<Error> PodVm::with_cause(Error error) {
  if (is_passing(error)) co_return error;
  if (share_) co_await share_gone_.wait_for(kProcessEndLimit);
  if (vm_ && error.code() == Code::kUnavailable) co_await gone_.wait_for(kProcessEndLimit);
  if (share_gone_.is_set() || killed_) co_return Error(Code::kAborted, error.message());
  co_return error;
}

asio::awaitable<void> PodVm::condemn_template(Error why) {
  if (is_passing(why)) co_return;
  // It may be the annotations that are wrong, and the template is others', too.
  if (options_.config.is_annotated) co_return;
  auto recipe = template_recipe();
  if (!recipe) co_return;
  auto draft = co_await begin_template(*recipe);
  Status noted;
  if (draft)
    noted = (*draft)->publish_failure(why.message());
  else
    noted = std::unexpected(draft.error());
  if (!noted) log::warning("template", {{"error", noted.error().message()}});
}

}  // namespace kata::sandbox
