// config.json of a container as plain values (OCI runtime-spec 1.2, linux).
// https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md and config-linux.md
//
// Field names follow the specification in snake_case. An absent scalar is an empty optional where
// absence differs from zero. Everything here has passed parse_spec(): enumerations hold only
// values that the specification names, paths hold no NUL byte; nothing else about a path is
// checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace kata::oci {

// ---- process (config.md#process) ----

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
  std::optional<mode_t> umask;
  std::vector<gid_t> additional_gids;
};

/// One set is absent when the key is; an absent set is an empty one to the kernel.
struct Capabilities {
  std::vector<std::string> bounding;  // "CAP_CHOWN"…, as written
  std::vector<std::string> effective;
  std::vector<std::string> inheritable;
  std::vector<std::string> permitted;
  std::vector<std::string> ambient;
};

struct Rlimit {
  std::string type;  // "RLIMIT_NOFILE"…
  int resource = 0;  // RLIMIT_NOFILE…
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct ConsoleSize {
  uint32_t height = 0;
  uint32_t width = 0;
};

struct Scheduler {
  std::string policy;
  int32_t nice = 0;
  int32_t priority = 0;
  std::vector<std::string> flags;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

struct IoPriority {
  std::string io_class;
  int32_t priority = 0;
};

struct CpuAffinity {
  std::string initial;
  std::string final;
};

struct Process {
  bool terminal = false;
  std::optional<ConsoleSize> console_size;
  User user;
  std::vector<std::string> args;  // at least one, the first not empty
  std::vector<std::string> env;   // "KEY=value"
  std::string cwd;                // absolute
  /// Absent: no capability at all, as in runc.
  std::optional<Capabilities> capabilities;
  std::vector<Rlimit> rlimits;  // no type twice
  bool no_new_privileges = false;
  std::optional<int32_t> oom_score_adj;  // -1000 to 1000
  std::string apparmor_profile;
  std::string selinux_label;
  std::optional<Scheduler> scheduler;
  std::optional<IoPriority> io_priority;
  std::optional<CpuAffinity> exec_cpu_affinity;
};

// ---- root, mounts, hooks (config.md) ----

struct Root {
  std::string path;
  bool readonly = false;
};

struct IdMapping {
  uint32_t container_id = 0;
  uint32_t host_id = 0;
  uint32_t size = 0;
};

struct Mount {
  std::string destination;  // absolute, inside the container
  std::string type;         // empty for a bind mount
  std::string source;
  std::vector<std::string> options;  // see common/sys/mount.h
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
};

struct Hook {
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::optional<int32_t> timeout_s;
};

struct Hooks {
  std::vector<Hook> prestart;
  std::vector<Hook> create_runtime;
  std::vector<Hook> create_container;
  std::vector<Hook> start_container;
  std::vector<Hook> poststart;
  std::vector<Hook> poststop;
};

// ---- linux (config-linux.md) ----

enum class NamespaceType { kPid, kNetwork, kMount, kIpc, kUts, kUser, kCgroup, kTime };

struct Namespace {
  NamespaceType type = NamespaceType::kPid;
  std::string path;  // empty: a new one
};

enum class DeviceType { kChar, kBlock, kFifo };

struct Device {
  DeviceType type = DeviceType::kChar;
  std::string path;
  uint32_t major = 0;
  uint32_t minor = 0;
  std::optional<mode_t> file_mode;
  uid_t uid = 0;
  gid_t gid = 0;
};

struct TimeOffset {
  int64_t secs = 0;
  uint32_t nanosecs = 0;
};

struct DeviceRule {
  bool allow = false;
  std::string type;              // "a", "c", "b" or empty (all)
  std::optional<int64_t> major;  // absent or -1: all
  std::optional<int64_t> minor;
  std::string access;  // of "rwm"
};

/// Bytes; -1 is unlimited.
struct MemoryResources {
  std::optional<int64_t> limit;
  std::optional<int64_t> reservation;
  std::optional<int64_t> swap;  // memory + swap
  std::optional<int64_t> kernel;
  std::optional<int64_t> kernel_tcp;
  std::optional<uint64_t> swappiness;
  std::optional<bool> disable_oom_killer;
  std::optional<bool> use_hierarchy;
  std::optional<bool> check_before_update;
};

struct CpuResources {
  std::optional<uint64_t> shares;  // cgroup v1's: 2 to 262144
  std::optional<int64_t> quota_us;
  std::optional<uint64_t> burst_us;
  std::optional<uint64_t> period_us;
  std::optional<int64_t> realtime_runtime_us;
  std::optional<uint64_t> realtime_period_us;
  std::string cpus;
  std::string mems;
  std::optional<int64_t> idle;
};

struct WeightDevice {
  int64_t major = 0;
  int64_t minor = 0;
  std::optional<uint16_t> weight;
  std::optional<uint16_t> leaf_weight;
};

struct ThrottleDevice {
  int64_t major = 0;
  int64_t minor = 0;
  uint64_t rate = 0;  // bytes or operations per second
};

struct BlockIoResources {
  std::optional<uint16_t> weight;
  std::optional<uint16_t> leaf_weight;
  std::vector<WeightDevice> weight_device;
  std::vector<ThrottleDevice> throttle_read_bps;
  std::vector<ThrottleDevice> throttle_write_bps;
  std::vector<ThrottleDevice> throttle_read_iops;
  std::vector<ThrottleDevice> throttle_write_iops;
};

struct HugepageLimit {
  std::string page_size;  // "2MB"
  uint64_t limit = 0;     // bytes

  /// Of one page; 0: more than can be counted.
  uint64_t page_bytes() const;
};

struct InterfacePriority {
  std::string name;
  uint32_t priority = 0;
};

struct NetworkResources {
  std::optional<uint32_t> class_id;
  std::vector<InterfacePriority> priorities;
};

struct RdmaLimit {
  std::optional<uint32_t> hca_handles;
  std::optional<uint32_t> hca_objects;
};

struct Resources {
  std::vector<DeviceRule> devices;
  MemoryResources memory;
  CpuResources cpu;
  std::optional<int64_t> pids_limit;  // 0 or less: no limit
  BlockIoResources block_io;
  std::vector<HugepageLimit> hugepage_limits;
  NetworkResources network;
  std::map<std::string, RdmaLimit> rdma;
  std::map<std::string, std::string> unified;
};

struct SeccompArg {
  uint32_t index = 0;  // 0 to 5
  uint64_t value = 0;
  uint64_t value_two = 0;
  std::string op;  // "SCMP_CMP_EQ"…
};

struct SeccompRule {
  std::vector<std::string> names;
  std::string action;
  std::optional<uint32_t> errno_ret;
  std::vector<SeccompArg> args;
};

struct Seccomp {
  std::string default_action;  // "SCMP_ACT_ERRNO"…
  std::optional<uint32_t> default_errno_ret;
  std::vector<std::string> architectures;
  std::vector<std::string> flags;
  std::string listener_path;
  std::string listener_metadata;
  std::vector<SeccompRule> syscalls;
};

struct Personality {
  std::string domain;              // "LINUX" or "LINUX32"
  std::vector<std::string> flags;  // none has a meaning yet: empty
};

struct Linux {
  std::vector<Namespace> namespaces;  // no type twice
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
  std::map<std::string, TimeOffset> time_offsets;
  std::vector<Device> devices;
  std::string cgroups_path;
  Resources resources;
  std::string rootfs_propagation;  // "", "shared", "slave", "private", "unbindable" or an r-form
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::map<std::string, std::string> sysctl;
  std::optional<Seccomp> seccomp;
  std::string mount_label;
  std::optional<Personality> personality;
};

struct Spec {
  std::string oci_version;
  Process process;
  Root root;
  std::string hostname;
  std::string domainname;
  std::vector<Mount> mounts;
  Hooks hooks;
  Linux linux;
  std::map<std::string, std::string> annotations;
};

}  // namespace kata::oci
