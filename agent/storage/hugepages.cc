#include "agent/storage/hugepages.h"

#include <algorithm>
#include <utility>

#include <sys/mount.h>
#include <sys/sysinfo.h>

#include "common/base/id.h"
#include "common/log/log.h"
#include "common/sys/file.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBytesPerKib = 1024;
constexpr const char* kPool = "nr_hugepages";
constexpr const char* kOnDemand = "nr_overcommit_hugepages";

uint64_t pages_of(uint64_t bytes, uint64_t page_bytes) {
  return bytes / page_bytes + (bytes % page_bytes == 0 ? 0 : 1);
}

uint64_t sum_of(uint64_t one, uint64_t other) {
  uint64_t sum = 0;
  return __builtin_add_overflow(one, other, &sum) ? UINT64_MAX : sum;
}

}  // namespace

Hugepages::Hugepages(fs::path sysfs, fs::path mounts)
    : sysfs_(std::move(sysfs)), mounts_(std::move(mounts)) {}

fs::path Hugepages::directory_of(uint64_t page_bytes) const {
  return sysfs_ / fmt::format("hugepages-{}kB", page_bytes / kBytesPerKib);
}

/// For all containers together.
Status Hugepages::set_aside(uint64_t page_bytes) {
  const fs::path file = directory_of(page_bytes) / kPool;
  KATA_TRY(const uint64_t had, sys::read_number<uint64_t>(file));
  const uint64_t at_boot = at_boot_.try_emplace(page_bytes, had).first->second;
  uint64_t wanted = 0;
  for (const auto& [container, sizes] : reserved_)
    if (const auto found = sizes.find(page_bytes); found != sizes.end())
      wanted = sum_of(wanted, pages_of(found->second, page_bytes));
  wanted = std::max(wanted, at_boot);
  if (wanted == had) return {};
  KATA_CHECK(sys::write_existing(file, fmt::to_string(wanted)));
  KATA_TRY(const uint64_t has, sys::read_number<uint64_t>(file));
  if (has >= wanted) return {};
  return fail(Code::kResourceExhausted,
              "the guest has memory for {} huge pages of {} KiB, and the pod's containers may use "
              "{}: raise default_memory in [hypervisor.qemu], or have the pages set aside at boot "
              "(hugepages= in kernel_params)",
              has, page_bytes / kBytesPerKib, wanted);
}

Status Hugepages::reserve(const std::string& container,
                          const std::vector<oci::HugepageLimit>& limits) {
  const std::lock_guard lock(mutex_);
  Sizes& sizes = reserved_[container];
  const Sizes before = sizes;
  Status reserved;
  std::error_code ignored;
  for (const oci::HugepageLimit& limit : limits) {
    const uint64_t page_bytes = limit.page_bytes();
    // Pages that the kernel does not know: the control group has said so, if any are wanted.
    if (!reserved || page_bytes == 0 || !fs::exists(directory_of(page_bytes), ignored)) continue;
    sizes[page_bytes] = limit.limit;
    reserved = set_aside(page_bytes);
  }
  if (reserved) return {};
  const Sizes failed = std::exchange(sizes, before);
  for (const auto& [page_bytes, bytes] : failed) {
    if (Status restored = set_aside(page_bytes); !restored)
      log::warning("huge pages", {{"error", restored.error().message()}});
  }
  return std::unexpected(reserved.error().with_stage("linux.resources.hugepageLimits"));
}

void Hugepages::release(const std::string& container) {
  const std::lock_guard lock(mutex_);
  const auto released = reserved_.extract(container);
  if (released.empty()) return;
  for (const auto& [page_bytes, bytes] : released.mapped()) {
    if (Status freed = set_aside(page_bytes); !freed)
      log::warning("huge pages", {{"container", container}, {"error", freed.error().message()}});
  }
}

Status Hugepages::mount(const HugepageVolume& volume) {
  KATA_CHECK(validate_id("volume of huge pages", volume.name));
  const std::lock_guard lock(mutex_);
  if (mounted_.contains(volume.name)) return {};
  const fs::path directory = mounts_ / volume.name;
  std::error_code failed;
  fs::create_directories(directory, failed);
  if (failed) return fail_errno("make " + directory.native(), failed.value());
  std::string options = fmt::format("pagesize={},mode={:o},uid={},gid={}", volume.page_bytes,
                                    volume.mode & 07777, volume.uid, volume.gid);
  if (volume.size_bytes > 0) options += fmt::format(",size={}", volume.size_bytes);
  if (::mount("nodev", directory.c_str(), "hugetlbfs", 0, options.c_str()) != 0)
    return fail_errno(
        fmt::format("mount a file system of huge pages of {} KiB, as the host's, in the guest",
                    volume.page_bytes / kBytesPerKib));
  mounted_.insert(volume.name);
  return {};
}

Status Hugepages::make_on_demand() {
  struct sysinfo memory {};
  if (sysinfo(&memory) != 0) return fail_errno("sysinfo");
  const uint64_t kib = uint64_t{memory.totalram} * memory.mem_unit / kBytesPerKib;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(sysfs_, failed)) {
    constexpr std::string_view kPrefix = "hugepages-";
    const std::string name = entry.path().filename().native();
    uint64_t page_kib = 0;
    std::from_chars(name.data() + std::min(kPrefix.size(), name.size()), name.data() + name.size(),
                    page_kib);
    if (page_kib == 0) continue;
    Status set = sys::write_existing(entry.path() / kOnDemand, fmt::to_string(kib / page_kib));
    // Pages as large as a gibibyte the kernel makes only when it is told to.
    if (!set && set.error().code() != Code::kInvalidArgument) return set;
  }
  return failed ? fail_errno("list " + sysfs_.native(), failed.value()) : Status{};
}

bool wants_hugepages_on_demand(const oci::Spec& spec, bool has_volumes) {
  const bool has_limits =
      std::ranges::any_of(spec.linux.resources.hugepage_limits,
                          [](const oci::HugepageLimit& limit) { return limit.limit > 0; });
  const bool mounts_any = std::ranges::any_of(
      spec.mounts, [](const oci::Mount& mount) { return mount.type == "hugetlbfs"; });
  return !has_limits && (has_volumes || mounts_any);
}

}  // namespace kata::storage
