// File systems of huge pages of the host. Their pages are mapped, never read or written, which no
// share can do: the guest has its own (proto/agent.proto, HugepageVolume).
#pragma once

#include <filesystem>
#include <optional>

#include "common/error/error.h"
#include "common/storage/hugepage_volume.h"

namespace kata::storage {

/// nullopt: `source`, whose links are followed, is no part of a hugetlbfs, or not there.
/// FailedPrecondition: it is a file of one, which the guest cannot have.
Result<std::optional<HugepageVolume>> find_hugepage_volume(const std::filesystem::path& source);

}  // namespace kata::storage
