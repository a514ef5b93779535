#include "runtime/factory/fingerprint.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/sha256.h"
#include "common/base/unique_fd.h"

namespace kata::factory {
namespace {

using nlohmann::json;

json identity_of(const struct stat& info) {
  const auto nanoseconds = [](const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  return {{"device", info.st_dev},
          {"inode", info.st_ino},
          {"size", info.st_size},
          {"modified_ns", nanoseconds(info.st_mtim)},
          {"changed_ns", nanoseconds(info.st_ctim)}};
}

Result<std::string> hash_of(int fd, const struct stat& info) {
  if (info.st_size == 0) return sha256_hex({});
  const auto size = static_cast<size_t>(info.st_size);
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapped == MAP_FAILED) return fail_errno("map");
  CleanupStack cleanup;
  cleanup.add([=] { ::munmap(mapped, size); });
  return sha256_hex({static_cast<const char*>(mapped), size});
}

Result<json> fingerprint_of(const std::filesystem::path& file) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(fmt::format("template: open {}", file.native()));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno("template: fstat");
  auto hash = hash_of(fd.get(), info);
  if (!hash) return std::unexpected(hash.error().with_stage("template: " + file.native()));
  return json{{"path", file.native()}, {"identity", identity_of(info)}, {"sha256", *hash}};
}

bool matches(const json& entry, const std::filesystem::path& file) {
  struct stat info {};
  if (entry.at("path") != file.native() || ::stat(file.c_str(), &info) != 0) return false;
  if (entry.at("identity") == identity_of(info)) return true;
  const auto now = fingerprint_of(file);
  return now && now->at("sha256") == entry.at("sha256");
}

}  // namespace

Result<json> take_fingerprint(const std::vector<std::filesystem::path>& files) {
  json fingerprint = json::array();
  for (const auto& file : files) {
    KATA_TRY(json entry, fingerprint_of(file));
    fingerprint.push_back(std::move(entry));
  }
  return fingerprint;
}

bool still_matches(const json& fingerprint, const std::vector<std::filesystem::path>& files) {
  if (!fingerprint.is_array() || fingerprint.size() != files.size()) return false;
  try {
    for (size_t i = 0; i < files.size(); ++i)
      if (!matches(fingerprint[i], files[i])) return false;
  } catch (const json::exception&) {
    return false;  // not of our making
  }
  return true;
}

}  // namespace kata::factory
