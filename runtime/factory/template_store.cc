#include "runtime/factory/template_store.h"

#include <set>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/sha256.h"
#include "common/log/log.h"
#include "common/sys/file.h"
#include "runtime/factory/fingerprint.h"

namespace kata::factory {
namespace {

using nlohmann::json;

constexpr const char* kMemory = "memory";
constexpr const char* kDeviceState = "device_state";
constexpr const char* kManifest = "manifest.json";
constexpr const char* kFiles = "files";
constexpr const char* kSizes = "sizes";
constexpr const char* kFailure = "failure";
constexpr const char* kLockSuffix = ".lock";
constexpr const char* kDraftSuffix = ".new";
constexpr size_t kMaxManifestBytes = 64 * 1024;
constexpr int kMaxManifestDepth = 8;
/// Some of it is the guest's console; written as \uXXXX it is six times as long.
constexpr size_t kMaxFailureBytes = 4 * 1024;
constexpr size_t kKeyDigits = 16;

bool is_key(std::string_view name) {
  return name.size() == kKeyDigits &&
         name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Status make_root(const std::filesystem::path& root) {
  std::error_code error;
  std::filesystem::create_directories(root.parent_path(), error);  // mkdir says why it cannot be
  if (::mkdir(root.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno(fmt::format("template: create {}", root.native()));
  return {};
}

/// Others could hand us a guest of theirs, or read ours.
Status check_private(const std::filesystem::path& root) {
  struct stat info {};
  if (::lstat(root.c_str(), &info) != 0)
    return fail_errno(fmt::format("template: stat {}", root.native()));
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
    return fail(
        Code::kPermissionDenied,
        "template: {} must be a directory of mode 0700 that belongs to uid {}: remove it or "
        "set another template_path",
        root.native(), ::geteuid());
  return {};
}

Result<UniqueFd> create_below(int directory, const char* name) {
  UniqueFd fd(::openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(fmt::format("template: create {}", name));
  return fd;
}

Result<json> size_of(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return fail_errno("template: fstat");
  return info.st_size;
}

/// NotFound: not what was published, by its size, or not ours alone.
Result<UniqueFd> open_published(int directory, const char* name, const json& manifest) {
  UniqueFd fd(::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd)
    return fail(Code::kNotFound, "{}", errno_error(fmt::format("template: {}", name)).message());
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno("template: fstat");
  // Another name of the file may be within another user's reach.
  if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077) != 0 ||
      info.st_nlink != 1)
    return fail(Code::kNotFound, "template: {} is not a file that is ours alone", name);
  const json sizes = manifest.value(kSizes, json());
  if (!sizes.is_object() || sizes.value(name, json()) != info.st_size)
    return fail(Code::kNotFound, "template: {} has {} bytes, which is not as it was made", name,
                info.st_size);
  return fd;
}

/// NotFound: there is none that could be ours.
Result<json> read_manifest(const std::filesystem::path& directory) {
  const auto text = sys::read_file(directory / kManifest, kMaxManifestBytes);
  if (!text) return fail(Code::kNotFound, "template: {}", text.error().message());
  // Depth, because values are copied and compared by recursion.
  const auto bounded = [](int depth, json::parse_event_t, json&) {
    return depth < kMaxManifestDepth;
  };
  json manifest = json::parse(*text, bounded, /*allow_exceptions=*/false);
  if (!manifest.is_object() || !manifest.contains(kFiles))
    return fail(Code::kNotFound, "template: {} has no valid manifest", directory.native());
  return manifest;
}

/// Paths and messages may hold anything.
std::string dump(const json& manifest) {
  return manifest.dump(2, ' ', true, json::error_handler_t::replace);
}

std::string failure_in(const json& manifest) {
  const auto failure = manifest.find(kFailure);
  return failure != manifest.end() && failure->is_string() ? failure->get<std::string>() : "";
}

/// For as long as the descriptor is open. Unavailable: another process has it. NotFound: no root.
Result<UniqueFd> lock(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory.native() + kLockSuffix;
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return fail_errno(fmt::format("template: open {}", path.native()));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK)
        return fail(Code::kUnavailable, "template: another process is making {}",
                    directory.native());
      return fail_errno(fmt::format("template: lock {}", path.native()));
    }
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return fail_errno("template: fstat");
    if (info.st_nlink > 0) return fd;
    // Removed between our two calls: it keeps out nobody who comes later.
  }
}

/// As lock(), in a root that is made if it is not there.
Result<UniqueFd> lock_in(const std::filesystem::path& root,
                         const std::filesystem::path& directory) {
  for (;;) {
    KATA_CHECK(make_root(root));
    const Status is_private = check_private(root);
    Result<UniqueFd> held =
        is_private ? lock(directory) : Result<UniqueFd>(std::unexpected(is_private.error()));
    // Somebody removes the templates at the same time.
    if (!held && held.error().code() == Code::kNotFound) continue;
    return held;
  }
}

/// Only so that the next does not read the same files again: whoever holds the lock, or has no
/// room, does without.
void renew_manifest(const std::filesystem::path& directory, const std::filesystem::path& opened,
                    const json& manifest) {
  const auto held = lock(directory);
  if (!held) return;
  auto written = sys::write_file_atomically(opened / kManifest, dump(manifest), 0600);
  if (!written) log::warning("template", {{"error", written.error().message()}});
}

/// In place of whatever is there.
Status put_in_place(const std::filesystem::path& made, const std::filesystem::path& target) {
  std::error_code error;
  std::filesystem::remove_all(target, error);
  if (!error) std::filesystem::rename(made, target, error);
  if (error)
    return fail_errno(fmt::format("template: put {} in place", target.native()), error.value());
  return {};
}

/// With all that belongs to it. Its lock is the last: who waits for nothing but a name of it would
/// begin another meanwhile, and this one's maker would publish that one's half.
Status remove_template(const std::filesystem::path& directory) {
  KATA_TRY(const UniqueFd held, lock(directory));
  for (const char* suffix : {"", kDraftSuffix, kLockSuffix}) {
    std::error_code error;
    const std::filesystem::path path = directory.native() + suffix;
    std::filesystem::remove_all(path, error);
    if (error) return fail_errno(fmt::format("template: remove {}", path.native()), error.value());
  }
  return {};
}

}  // namespace

std::filesystem::path TemplateStore::directory_of(const Recipe& recipe) const {
  std::string parts = recipe.settings;
  for (const auto& file : recipe.files) parts += '\0' + file.native();
  return root_ / sha256_hex(parts).substr(0, kKeyDigits);
}

Result<SavedVm> TemplateStore::open(const Recipe& recipe) const {
  KATA_CHECK(check_private(root_));
  const auto path = directory_of(recipe);
  // The descriptor holds one template together, whatever is put in its place meanwhile.
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory && (errno == ENOTDIR || errno == ELOOP))
    return fail(Code::kNotFound, "template: {} is no directory", path.native());
  if (!directory) return fail_errno(fmt::format("template: open {}", path.native()));
  const std::filesystem::path opened = fmt::format("/proc/self/fd/{}", directory.get());
  KATA_TRY(json manifest, read_manifest(opened));
  KATA_TRY(const json files, take_fingerprint(recipe.files, manifest[kFiles]));
  if (!same_content(manifest[kFiles], files))
    return fail(Code::kNotFound, "template: {} was made from other files", path.native());
  if (manifest[kFiles] != files) {
    manifest[kFiles] = files;  // touched, or replaced by equal ones
    renew_manifest(path, opened, manifest);
  }
  if (const std::string failure = failure_in(manifest); !failure.empty())
    return fail(Code::kFailedPrecondition,
                "template: the last attempt to make it failed (kata-runtime factory destroy allows "
                "another): {}",
                failure);
  SavedVm saved;
  KATA_TRY(saved.memory, open_published(directory.get(), kMemory, manifest));
  KATA_TRY(saved.device_state, open_published(directory.get(), kDeviceState, manifest));
  return saved;
}

Result<std::shared_ptr<Draft>> TemplateStore::begin(const Recipe& recipe) const {
  // Not std::make_shared: the constructor is ours alone.
  std::shared_ptr<Draft> draft(new Draft);
  draft->recipe_ = recipe;
  draft->target_ = directory_of(recipe);
  KATA_TRY(draft->lock_, lock_in(root_, draft->target_));
  KATA_TRY(const json fingerprint, take_fingerprint(recipe.files));
  draft->manifest_ = dump({{kFiles, fingerprint}, {"settings", recipe.settings}});
  const std::filesystem::path directory = draft->target_.native() + kDraftSuffix;
  // Of a maker that was killed: the lock says that there is none now.
  std::error_code error;
  std::filesystem::remove_all(directory, error);  // mkdir says what is left
  if (::mkdir(directory.c_str(), 0700) != 0)
    return fail_errno(fmt::format("template: create {}", directory.native()));
  draft->directory_ = directory;
  const UniqueFd opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return fail_errno(fmt::format("template: open {}", directory.native()));
  KATA_TRY(draft->memory_, create_below(opened.get(), kMemory));
  KATA_TRY(draft->device_state_, create_below(opened.get(), kDeviceState));
  return draft;
}

Draft::~Draft() {
  if (directory_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

Status Draft::publish() {
  json manifest = json::parse(manifest_);
  KATA_TRY(const json files, take_fingerprint(recipe_.files, manifest[kFiles]));
  if (!same_content(manifest[kFiles], files))
    return fail(Code::kFailedPrecondition, "template: its files have changed while it was made");
  KATA_TRY(manifest[kSizes][kMemory], size_of(memory_.get()));
  KATA_TRY(manifest[kSizes][kDeviceState], size_of(device_state_.get()));
  KATA_CHECK(sys::write_file_atomically(directory_ / kManifest, dump(manifest), 0600));
  KATA_CHECK(put_in_place(directory_, target_));
  directory_.clear();
  return {};
}

Status Draft::publish_failure(const std::string& why) {
  json manifest = json::parse(manifest_);
  manifest[kFailure] = why.substr(0, kMaxFailureBytes);
  manifest_ = dump(manifest);
  return publish();
}

Result<std::vector<TemplateInfo>> TemplateStore::list() const {
  std::vector<TemplateInfo> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_, error)) {
    if (!is_key(entry.path().filename().native())) continue;  // a lock, or what is being made
    const auto manifest = read_manifest(entry.path());
    if (!manifest) continue;
    TemplateInfo info;
    info.directory = entry.path();
    info.failure = failure_in(*manifest);
    struct stat memory {};
    if (::stat((entry.path() / kMemory).c_str(), &memory) == 0)
      info.memory_bytes = static_cast<uint64_t>(memory.st_blocks) * 512;
    found.push_back(std::move(info));
  }
  if (error && error.value() != ENOENT)
    return fail_errno(fmt::format("template: read {}", root_.native()), error.value());
  return found;
}

Status TemplateStore::remove_all() const {
  Status root = check_private(root_);
  if (!root && root.error().code() == Code::kNotFound) return {};
  KATA_CHECK(root);
  std::set<std::string> keys;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_, error)) {
    const std::string key = entry.path().filename().native().substr(0, kKeyDigits);
    if (is_key(key)) keys.insert(key);
  }
  if (error) return fail_errno(fmt::format("template: read {}", root_.native()), error.value());
  Status removed;
  for (const std::string& key : keys)
    if (Status one = remove_template(root_ / key); !one) removed = one;
  KATA_CHECK(removed);
  // Neither what is not ours, nor a mount point, nor a template that was begun meanwhile.
  if (::rmdir(root_.c_str()) != 0 && errno != ENOTEMPTY && errno != EBUSY && errno != ENOENT)
    return fail_errno(fmt::format("template: remove {}", root_.native()));
  return {};
}

}  // namespace kata::factory
