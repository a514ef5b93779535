#include "runtime/factory/fingerprint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/sha256.h"
#include "common/base/unique_fd.h"

namespace kata::factory {
namespace {

using nlohmann::json;

constexpr size_t kReadBytes = size_t{256} << 10;

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

/// With read(2), not through a mapping: who replaces a file by writing over it (cp(1) does) makes
/// it shorter first, and a mapping would end this process by SIGBUS.
Result<std::string> hash_of(int fd) {
  std::vector<char> buffer(kReadBytes);
  Sha256 hash;
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read");
    if (got == 0) return hash.finish();
    hash.update({buffer.data(), static_cast<size_t>(got)});
  }
}

/// The hash that `known` has for this file, if it is of this identity.
std::string known_hash(const json& known, const std::string& path, const json& identity) {
  if (!known.is_array()) return {};
  for (const json& entry : known) {
    if (!entry.is_object() || entry.value("path", json()) != path) continue;
    const json hash = entry.value("sha256", json());
    if (entry.value("identity", json()) == identity && hash.is_string()) return hash;
  }
  return {};
}

Result<json> fingerprint_of(const std::filesystem::path& file, const json& known) {
  // O_NONBLOCK: a FIFO would wait for its writer.
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return fail_errno(fmt::format("template: open {}", file.native()));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno("template: fstat");
  if (!S_ISREG(info.st_mode))
    return fail(Code::kInvalidArgument, "template: {} is not a regular file", file.native());
  const json identity = identity_of(info);
  std::string hash = known_hash(known, file.native(), identity);
  if (hash.empty()) {
    auto computed = hash_of(fd.get());
    if (!computed)
      return std::unexpected(computed.error().with_stage("template: " + file.native()));
    hash = *std::move(computed);
  }
  return json{{"path", file.native()}, {"identity", identity}, {"sha256", hash}};
}

/// What of a fingerprint counts.
json content_of(json fingerprint) {
  for (json& entry : fingerprint)
    if (entry.is_object()) entry.erase("identity");
  return fingerprint;
}

}  // namespace

Result<json> take_fingerprint(const std::vector<std::filesystem::path>& files, const json& known) {
  json fingerprint = json::array();
  for (const auto& file : files) {
    KATA_TRY(json entry, fingerprint_of(file, known));
    fingerprint.push_back(std::move(entry));
  }
  return fingerprint;
}

bool same_content(const json& one, const json& other) {
  return content_of(one) == content_of(other);
}

}  // namespace kata::factory
