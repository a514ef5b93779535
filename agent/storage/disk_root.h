// A container's root made of disks of the VM.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/error/error.h"

namespace kata::storage {

struct Disk {
  std::string serial;
  std::string fs_type;
  std::vector<std::string> options;  // as mount(8) takes them
};

/// See RootDisks in proto/agent.proto.
struct RootDisks {
  std::vector<Disk> disks;  // topmost first
  std::string upper;
  std::string work;
};

/// Mounts in the agent's mount namespace, below /run/kata-containers/<container id>. One thread at
/// a time. The destructor takes away what unmount() has not.
class DiskRoot {
 public:
  /// Waits for the disks. Errors name the disk; nothing stays mounted after one. InvalidArgument:
  /// no disk, or one of `upper` and `work` alone.
  static Result<std::unique_ptr<DiskRoot>> mount(const std::string& container_id,
                                                 const RootDisks& wanted);
  DiskRoot(const DiskRoot&) = delete;
  DiskRoot& operator=(const DiskRoot&) = delete;
  ~DiskRoot();

  const std::filesystem::path& path() const { return root_; }

  /// What was written is on the disks when this answers. Harmless when repeated.
  Status unmount();

 private:
  explicit DiskRoot(std::filesystem::path directory) : directory_(std::move(directory)) {}
  Result<std::filesystem::path> make_mount_point(const std::string& name);
  Status mount_disks(const std::vector<Disk>& disks);
  Status mount_overlay(const RootDisks& wanted);
  Status mount_layer(const std::string& name, const std::string& lower,
                     std::vector<std::string> options);

  std::filesystem::path directory_;
  std::filesystem::path root_;
  std::vector<std::filesystem::path> mounted_;  // in order
};

}  // namespace kata::storage
