#include "agent/sandbox/sandbox.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include <sys/mount.h>
#include <sys/utsname.h>

#include "agent/network/queues.h"
#include "agent/sandbox/clock.h"
#include "agent/sandbox/identity.h"
#include "agent/sandbox/memory.h"
#include "agent/sandbox/processors.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/log/log.h"

namespace kata::sandbox {
namespace {

/// Over a cold connection, to an agent that has just come up, and over a warm one.
constexpr std::chrono::seconds kMaxAgeOfFirstMessage{1};
constexpr std::chrono::milliseconds kMaxAgeOfMessage{20};

Status mount_share(const Share& share) {
  if (!share.mount_point.starts_with('/')) {
    return fail(Code::kInvalidArgument, "share \"{}\": mount point \"{}\" is not absolute",
                share.tag, share.mount_point);
  }
  std::error_code failed;
  std::filesystem::create_directories(share.mount_point, failed);
  if (failed) return fail_errno(fmt::format("make {}", share.mount_point), failed.value());
  unsigned long flags = share.read_only ? MS_RDONLY : 0;
  if (::mount(share.tag.c_str(), share.mount_point.c_str(), "virtiofs", flags, nullptr) == 0) {
    return {};
  }
  int error = errno;
  std::string what = fmt::format("mount share \"{}\" on {}", share.tag, share.mount_point);
  if (error == EINVAL) {
    return fail(Code::kNotFound, "{}: the VM has no virtiofs device of that tag", what);
  }
  if (error == ENODEV) {
    return fail(Code::kFailedPrecondition, "{}: the guest's kernel has no virtiofs", what);
  }
  return fail_errno(what, error);
}

Status limit_shared_memory(uint64_t bytes) {
  if (bytes == 0) return {};
  const std::string size = fmt::format("mode=1777,size={}", bytes);
  if (::mount("tmpfs", "/dev/shm", "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV, size.c_str()) != 0)
    return fail_errno(fmt::format("make /dev/shm {} bytes large", bytes));
  return {};
}

}  // namespace

Status Sandbox::prepare_template() {
  {
    std::lock_guard lock(mutex_);
    if (created_) return fail(Code::kFailedPrecondition, "a guest with a sandbox is no template");
  }
  return owns_guest_ ? give_back_memory() : Status{};
}

Result<SandboxInfo> Sandbox::create(const SandboxRequest& request) {
  KATA_CHECK(validate_id("sandbox id", request.id));
  {
    std::lock_guard lock(mutex_);
    if (created_) return fail(Code::kFailedPrecondition, "the sandbox has been created already");
    created_ = true;
  }
  CleanupStack cleanup;
  cleanup.add([this] {
    std::lock_guard lock(mutex_);
    created_ = false;
  });
  if (owns_guest_) {
    // First, so that nothing of this guest is drawn from what a template has handed to others too.
    KATA_CHECK(mix_in_entropy(request.entropy));
    KATA_CHECK(set_clock(request.host_time_unix_ns, kMaxAgeOfFirstMessage));
    KATA_CHECK(set_hostname(request.hostname));
    KATA_CHECK(limit_shared_memory(request.shm_bytes));
  }
  for (const Share& share : request.shares) {
    KATA_CHECK(mount_share(share));
    cleanup.add([point = share.mount_point] { umount2(point.c_str(), MNT_DETACH); });
  }
  log::set_context("sandbox", request.id);
  {
    std::lock_guard lock(mutex_);
    for (const Share& share : request.shares) share_points_.push_back(share.mount_point);
  }
  cleanup.release();
  utsname system{};
  uname(&system);
  return SandboxInfo{KATA_VERSION, system.release, setup_time_};
}

Status Sandbox::update_network(const network::Network& wanted) {
  {
    std::lock_guard lock(mutex_);
    if (!created_) return fail(Code::kFailedPrecondition, "the sandbox has not been created");
  }
  return network_.update(wanted);
}

Status Sandbox::correct_clock(int64_t host_unix_ns) {
  {
    std::lock_guard lock(mutex_);
    if (!containers_.empty()) return {};
  }
  return owns_guest_ ? set_clock(host_unix_ns, kMaxAgeOfMessage) : Status{};
}

Status Sandbox::use_processors(uint32_t count, std::chrono::seconds limit) {
  KATA_CHECK(sandbox::use_processors(count, limit));
  if (!owns_guest_) return {};
  // With fewer queues the network is slower, and that is all.
  if (Status used = network::use_queues(count); !used)
    log::warning("queues of the network cards", {{"error", used.error().message()}});
  return {};
}

Status Sandbox::adjust_clock(std::chrono::nanoseconds gain) {
  // A slew that is under way goes on where nothing is wanted.
  return owns_guest_ && gain.count() != 0 ? sandbox::adjust_clock(gain) : Status{};
}

Result<std::shared_ptr<container::Container>> Sandbox::create_container(
    container::CreateRequest request) {
  {
    std::lock_guard lock(mutex_);
    if (!created_) return fail(Code::kFailedPrecondition, "the sandbox has not been created");
    if (!containers_.try_emplace(request.id).second) {
      return fail(Code::kAlreadyExists, "container {} exists already", request.id);
    }
    request.shares = share_points_;
  }
  auto container = container::Container::create(environment_, request);
  std::lock_guard lock(mutex_);
  if (container) {
    containers_[request.id] = *container;
  } else {
    containers_.erase(request.id);
  }
  return container;
}

Result<std::shared_ptr<container::Container>> Sandbox::find(const std::string& id) const {
  std::lock_guard lock(mutex_);
  auto found = containers_.find(id);
  if (found == containers_.end()) return fail(Code::kNotFound, "container {} does not exist", id);
  if (!found->second) {
    return fail(Code::kFailedPrecondition, "container {} is being created", id);
  }
  return found->second;
}

Status Sandbox::remove_container(const std::string& id) {
  KATA_TRY(auto container, find(id));
  KATA_CHECK(container->remove());
  std::lock_guard lock(mutex_);
  // Another removal may have been faster, and the id may be somebody else's by now.
  auto found = containers_.find(id);
  if (found != containers_.end() && found->second == container) containers_.erase(found);
  return {};
}

void Sandbox::remove_all() {
  std::vector<std::string> ids;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, container] : containers_) ids.push_back(id);
  }
  for (const std::string& id : ids) {
    auto container = find(id);
    if (!container) continue;
    Status removed = (*container)->kill_and_remove();
    if (!removed) {
      log::error("container not removed",
                 {{"container", id}, {"error", removed.error().message()}});
    }
  }
}

}  // namespace kata::sandbox
