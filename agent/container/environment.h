// What containers are made with. Borrowed: outlives every container.
#pragma once

#include <filesystem>
#include <memory>

#include "agent/isolation/cgroup.h"
#include "agent/sandbox/event_loop.h"
#include "agent/sandbox/reaper.h"
#include "agent/sandbox/stream_listener.h"
#include "agent/storage/fs_group.h"
#include "agent/storage/hugepages.h"
#include "agent/storage/share_mounts.h"

namespace kata::container {

struct Environment {
  sandbox::EventLoop& loop;
  sandbox::Reaper& reaper;
  sandbox::ListenerFactory& listeners;
  int init_executable = -1;  // descriptor of kata-agent's own binary
  std::filesystem::path cgroup_root = isolation::kCgroupRoot;
  /// The pod's.
  std::shared_ptr<storage::ShareMounts> share_mounts = std::make_shared<storage::ShareMounts>();
  std::shared_ptr<storage::GivenVolumes> given_volumes = std::make_shared<storage::GivenVolumes>();
  /// Null: the kernel's huge pages are not the pod's.
  std::shared_ptr<storage::Hugepages> hugepages = {};
};

}  // namespace kata::container
