#include "agent/storage/disks.h"

#include <algorithm>
#include <optional>
#include <system_error>

#include "agent/sandbox/modules.h"
#include "agent/sandbox/uevents.h"
#include "common/sys/file.h"

namespace kata::storage {
namespace {

namespace fs = std::filesystem;

Result<std::optional<fs::path>> find_disk(const std::string& serial, const DiskPlaces& places) {
  // VIRTIO_BLK_ID_BYTES and a newline.
  constexpr size_t kMaxSerialBytes = 21;
  std::error_code error;
  for (fs::directory_iterator disk(places.sysfs, error), end; !error && disk != end;
       disk.increment(error)) {
    // A disk of another kind has none; one that goes just now has none any more.
    const auto found = sys::read_file(disk->path() / "serial", kMaxSerialBytes);
    if (found && std::string_view(*found).substr(0, found->find('\n')) == serial)
      return places.dev / disk->path().filename();
  }
  if (error) return fail_errno(fmt::format("read {}", places.sysfs.native()), error.value());
  return std::nullopt;
}

/// A busy guest needs some time to see what has been attached.
constexpr std::chrono::seconds kAttachedLimit{20};

}  // namespace

Result<fs::path> await_disk(const std::string& serial, std::chrono::seconds limit,
                            const DiskPlaces& places) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  // Before the first look: what comes between is not missed.
  KATA_TRY(auto uevents, sandbox::Uevents::open());
  for (;;) {
    KATA_TRY(const auto found, find_disk(serial, places));
    if (found) return *found;
    KATA_TRY(const bool more, uevents.wait({"ACTION=add", "SUBSYSTEM=block"}, deadline));
    if (!more)
      return fail(Code::kNotFound,
                  "the disk with the serial number \"{}\" has not come within {} s", serial,
                  limit.count());
  }
}

Result<fs::path> await_disk(const std::string& serial) {
  KATA_CHECK(sandbox::load_module_on_demand("virtio_blk"));
  return await_disk(serial, kAttachedLimit, {});
}

}  // namespace kata::storage
