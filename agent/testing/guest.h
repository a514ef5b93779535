// For tests: what a container needs around it, on the machine that runs the test (root).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "agent/container/container.h"
#include "agent/sandbox/event_loop.h"
#include "agent/sandbox/reaper.h"
#include "agent/sandbox/stream_listener.h"

namespace kata::testing {

/// A directory of its own below the system's temporary one, removed with all it holds.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// A control group of its own in this machine's cgroup v2 hierarchy, as the root of a guest's.
class CgroupRoot {
 public:
  CgroupRoot();
  ~CgroupRoot();
  CgroupRoot(const CgroupRoot&) = delete;
  CgroupRoot& operator=(const CgroupRoot&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Event loop, reaper and stream listeners as in a guest, with sockets in place of vsock. Blocks
/// SIGCHLD in the calling thread: make it before any other thread.
class Guest {
 public:
  Guest();

  sandbox::EventLoop& loop() { return *loop_; }
  sandbox::Reaper& reaper() { return *reaper_; }
  sandbox::ListenerFactory& listeners() { return *listeners_; }
  const std::filesystem::path& directory() const { return directory_.path(); }
  const std::filesystem::path& cgroup_root() const { return cgroup_root_.path(); }

  /// With kata-agent from $KATA_AGENT as init.
  container::Environment environment();
  /// A root with busybox and links for its usual applets.
  std::string make_rootfs();
  /// Connects to a stream's port; blocking.
  UniqueFd connect(uint32_t port);

 private:
  TemporaryDirectory directory_;
  CgroupRoot cgroup_root_;
  std::unique_ptr<sandbox::EventLoop> loop_;
  std::unique_ptr<sandbox::Reaper> reaper_;
  std::unique_ptr<sandbox::ListenerFactory> listeners_;
  UniqueFd executable_;
};

/// config.json of a container in its own namespaces that runs `args`.
std::string make_spec(const std::vector<std::string>& args);

/// Everything up to the end of the stream.
std::string read_all(int fd);

}  // namespace kata::testing
