#include "agent/rpc/metrics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

namespace kata::rpc {
namespace {

namespace v2 = io::containerd::cgroups::v2;

template <typename Message>
struct Key {
  std::string_view name;
  void (Message::*set)(uint64_t);
};

constexpr auto kCpuKeys = std::to_array<Key<v2::CPUStat>>({
    {"usage_usec", &v2::CPUStat::set_usage_usec},
    {"user_usec", &v2::CPUStat::set_user_usec},
    {"system_usec", &v2::CPUStat::set_system_usec},
    {"nr_periods", &v2::CPUStat::set_nr_periods},
    {"nr_throttled", &v2::CPUStat::set_nr_throttled},
    {"throttled_usec", &v2::CPUStat::set_throttled_usec},
});

constexpr auto kMemoryKeys = std::to_array<Key<v2::MemoryStat>>({
    {"anon", &v2::MemoryStat::set_anon},
    {"file", &v2::MemoryStat::set_file},
    {"kernel_stack", &v2::MemoryStat::set_kernel_stack},
    {"slab", &v2::MemoryStat::set_slab},
    {"sock", &v2::MemoryStat::set_sock},
    {"shmem", &v2::MemoryStat::set_shmem},
    {"file_mapped", &v2::MemoryStat::set_file_mapped},
    {"file_dirty", &v2::MemoryStat::set_file_dirty},
    {"file_writeback", &v2::MemoryStat::set_file_writeback},
    {"anon_thp", &v2::MemoryStat::set_anon_thp},
    {"inactive_anon", &v2::MemoryStat::set_inactive_anon},
    {"active_anon", &v2::MemoryStat::set_active_anon},
    {"inactive_file", &v2::MemoryStat::set_inactive_file},
    {"active_file", &v2::MemoryStat::set_active_file},
    {"unevictable", &v2::MemoryStat::set_unevictable},
    {"slab_reclaimable", &v2::MemoryStat::set_slab_reclaimable},
    {"slab_unreclaimable", &v2::MemoryStat::set_slab_unreclaimable},
    {"pgfault", &v2::MemoryStat::set_pgfault},
    {"pgmajfault", &v2::MemoryStat::set_pgmajfault},
    {"workingset_refault", &v2::MemoryStat::set_workingset_refault},
    {"workingset_activate", &v2::MemoryStat::set_workingset_activate},
    {"workingset_nodereclaim", &v2::MemoryStat::set_workingset_nodereclaim},
    {"pgrefill", &v2::MemoryStat::set_pgrefill},
    {"pgscan", &v2::MemoryStat::set_pgscan},
    {"pgsteal", &v2::MemoryStat::set_pgsteal},
    {"pgactivate", &v2::MemoryStat::set_pgactivate},
    {"pgdeactivate", &v2::MemoryStat::set_pgdeactivate},
    {"pglazyfree", &v2::MemoryStat::set_pglazyfree},
    {"pglazyfreed", &v2::MemoryStat::set_pglazyfreed},
    {"thp_fault_alloc", &v2::MemoryStat::set_thp_fault_alloc},
    {"thp_collapse_alloc", &v2::MemoryStat::set_thp_collapse_alloc},
});

// Files of one number.
constexpr auto kMemoryFiles = std::to_array<Key<v2::MemoryStat>>({
    {"memory.current", &v2::MemoryStat::set_usage},
    {"memory.max", &v2::MemoryStat::set_usage_limit},
    {"memory.swap.current", &v2::MemoryStat::set_swap_usage},
    {"memory.swap.max", &v2::MemoryStat::set_swap_limit},
    {"memory.peak", &v2::MemoryStat::set_max_usage},
});

constexpr auto kPidsFiles = std::to_array<Key<v2::PidsStat>>({
    {"pids.current", &v2::PidsStat::set_current},
    {"pids.max", &v2::PidsStat::set_limit},
});

constexpr auto kMemoryEventKeys = std::to_array<Key<v2::MemoryEvents>>({
    {"low", &v2::MemoryEvents::set_low},
    {"high", &v2::MemoryEvents::set_high},
    {"max", &v2::MemoryEvents::set_max},
    {"oom", &v2::MemoryEvents::set_oom},
    {"oom_kill", &v2::MemoryEvents::set_oom_kill},
});

constexpr auto kIoKeys = std::to_array<Key<v2::IOEntry>>({
    {"rbytes", &v2::IOEntry::set_rbytes},
    {"wbytes", &v2::IOEntry::set_wbytes},
    {"rios", &v2::IOEntry::set_rios},
    {"wios", &v2::IOEntry::set_wios},
});

/// Of x86-64.
constexpr std::array<const char*, 2> kHugepageSizes = {"2MB", "1GB"};

std::optional<uint64_t> number(std::string_view text) {
  if (text == "max") return std::numeric_limits<uint64_t>::max();
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Up to the separator, which goes too.
std::string_view take(std::string_view& text, char separator) {
  auto part = text.substr(0, text.find(separator));
  text.remove_prefix(std::min(part.size() + 1, text.size()));
  return part;
}

template <typename Message>
void set(Message& out, std::span<const Key<Message>> keys, std::string_view name,
         std::string_view value) {
  auto parsed = number(value);
  if (!parsed) return;
  for (const auto& key : keys) {
    if (key.name == name) (out.*key.set)(*parsed);
  }
}

/// Lines of "key number".
template <typename Message, size_t N>
void read_keys(const ReadStatFile& read, const char* file, const std::array<Key<Message>, N>& keys,
               const std::function<Message&()>& out) {
  auto text = read(file);
  if (!text) return;
  Message& message = out();
  for (std::string_view rest = *text; !rest.empty();) {
    auto value = take(rest, '\n');
    auto name = take(value, ' ');
    set<Message>(message, keys, name, value);
  }
}

template <typename Message, size_t N>
void read_numbers(const ReadStatFile& read, const std::array<Key<Message>, N>& files,
                  const std::function<Message&()>& out) {
  for (const auto& file : files) {
    auto text = read(file.name.data());
    if (!text) continue;
    std::string_view rest = *text;
    if (auto value = number(take(rest, '\n'))) (out().*file.set)(*value);
  }
}

/// Lines of "8:0 rbytes=1 wbytes=2…".
void read_io(const ReadStatFile& read, v2::Metrics& out) {
  auto text = read("io.stat");
  if (!text) return;
  v2::IOStat& io = *out.mutable_io();
  for (std::string_view rest = *text; !rest.empty();) {
    auto line = take(rest, '\n');
    auto device = take(line, ' ');
    auto major = number(take(device, ':'));
    auto minor = number(device);
    if (!major || !minor) continue;
    v2::IOEntry& entry = *io.add_usage();
    entry.set_major(*major);
    entry.set_minor(*minor);
    while (!line.empty()) {
      auto value = take(line, ' ');
      auto name = take(value, '=');
      set<v2::IOEntry>(entry, kIoKeys, name, value);
    }
  }
}

void read_hugepages(const ReadStatFile& read, v2::Metrics& out) {
  for (const char* size : kHugepageSizes) {
    const auto value_of = [&](const char* which) -> std::optional<uint64_t> {
      auto text = read(fmt::format("hugetlb.{}.{}", size, which).c_str());
      if (!text) return std::nullopt;
      std::string_view rest = *text;
      return number(take(rest, '\n'));
    };
    const auto current = value_of("current");
    const auto limit = value_of("max");
    if (!current || !limit) continue;
    v2::HugeTlbStat& pages = *out.add_hugetlb();
    pages.set_pagesize(size);
    pages.set_current(*current);
    pages.set_max(*limit);
  }
}

}  // namespace

v2::Metrics read_metrics(const ReadStatFile& read) {
  v2::Metrics out;
  read_numbers<v2::PidsStat>(
      read, kPidsFiles, [&]() -> auto& { return *out.mutable_pids(); });
  read_keys<v2::CPUStat>(
      read, "cpu.stat", kCpuKeys, [&]() -> auto& { return *out.mutable_cpu(); });
  auto memory = [&]() -> v2::MemoryStat& { return *out.mutable_memory(); };
  read_keys<v2::MemoryStat>(read, "memory.stat", kMemoryKeys, memory);
  read_numbers<v2::MemoryStat>(read, kMemoryFiles, memory);
  read_keys<v2::MemoryEvents>(
      read, "memory.events",
      kMemoryEventKeys, [&]() -> auto& { return *out.mutable_memory_events(); });
  read_io(read, out);
  read_hugepages(read, out);
  return out;
}

}  // namespace kata::rpc
