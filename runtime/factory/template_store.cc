#include "runtime/factory/template_store.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/sha256.h"
#include "common/sys/file.h"
#include "runtime/factory/fingerprint.h"

namespace kata::factory {
namespace {

using nlohmann::json;

constexpr const char* kMemory = "memory";
constexpr const char* kDeviceState = "device_state";
constexpr const char* kManifest = "manifest.json";
constexpr const char* kFiles = "files";
constexpr const char* kFailure = "failure";
constexpr size_t kMaxManifestBytes = 64 * 1024;
constexpr size_t kKeyDigits = 16;

/// Others could hand us a guest of theirs, or read ours.
Status check_private(const std::filesystem::path& root, const struct stat& info) {
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
    return fail(
        Code::kPermissionDenied,
        "template: {} must be a directory of mode 0700 that belongs to uid {}: remove it or "
        "set another template_path",
        root.native(), ::geteuid());
  return {};
}

Status make_root(const std::filesystem::path& root) {
  std::error_code error;
  std::filesystem::create_directories(root.parent_path(), error);
  if (::mkdir(root.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno(fmt::format("template: create {}", root.native()));
  return {};
}

Result<UniqueFd> open_root(const std::filesystem::path& root) {
  UniqueFd fd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return fail_errno(fmt::format("template: open {}", root.native()));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno("template: fstat");
  KATA_CHECK(check_private(root, info));
  return fd;
}

Result<UniqueFd> open_below(int directory, const char* name, int flags) {
  UniqueFd fd(::openat(directory, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(fmt::format("template: open {}", name));
  return fd;
}

Result<json> read_manifest(const std::filesystem::path& directory) {
  KATA_TRY(const std::string text, sys::read_file(directory / kManifest, kMaxManifestBytes));
  json manifest = json::parse(text, nullptr, /*allow_exceptions=*/false);
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

Result<UniqueFd> lock(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory.native() + ".lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(fmt::format("template: open {}", path.native()));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno == EWOULDBLOCK)
    return fail(Code::kUnavailable, "template: another process is making {}", directory.native());
  return fail_errno(fmt::format("template: lock {}", path.native()));
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

}  // namespace

std::filesystem::path TemplateStore::directory_of(const Recipe& recipe) const {
  std::string parts = recipe.settings;
  for (const auto& file : recipe.files) parts += '\0' + file.native();
  return root_ / sha256_hex(parts).substr(0, kKeyDigits);
}

Result<SavedVm> TemplateStore::open(const Recipe& recipe) const {
  KATA_CHECK(open_root(root_));
  const auto path = directory_of(recipe);
  // The descriptor holds one template together, whatever is put in its place meanwhile.
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) return fail_errno(fmt::format("template: open {}", path.native()));
  const std::filesystem::path opened = fmt::format("/proc/self/fd/{}", directory.get());
  KATA_TRY(json manifest, read_manifest(opened));
  KATA_TRY(const json files, take_fingerprint(recipe.files, manifest[kFiles]));
  if (!same_content(manifest[kFiles], files))
    return fail(Code::kNotFound, "template: {} was made from other files", path.native());
  if (manifest[kFiles] != files) {
    // Touched, or replaced by equal ones: so that the next does not read them again.
    manifest[kFiles] = files;
    KATA_CHECK(sys::write_file_atomically(opened / kManifest, dump(manifest), 0600));
  }
  if (const std::string failure = failure_in(manifest); !failure.empty())
    return fail(Code::kFailedPrecondition,
                "template: the last attempt to make it failed (kata-runtime factory destroy allows "
                "another): {}",
                failure);
  SavedVm saved;
  KATA_TRY(saved.memory, open_below(directory.get(), kMemory, O_RDONLY));
  KATA_TRY(saved.device_state, open_below(directory.get(), kDeviceState, O_RDONLY));
  return saved;
}

Result<Draft> TemplateStore::begin(const Recipe& recipe) const {
  KATA_CHECK(make_root(root_));
  KATA_CHECK(open_root(root_));
  Draft draft;
  draft.recipe_ = recipe;
  draft.target_ = directory_of(recipe);
  KATA_TRY(draft.lock_, lock(draft.target_));
  KATA_TRY(const json fingerprint, take_fingerprint(recipe.files));
  draft.manifest_ = dump({{kFiles, fingerprint}, {"settings", recipe.settings}});
  const std::filesystem::path directory = draft.target_.native() + ".new";
  // Of a maker that was killed: the lock says that there is none now.
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  if (::mkdir(directory.c_str(), 0700) != 0)
    return fail_errno(fmt::format("template: create {}", directory.native()));
  draft.directory_ = directory;
  constexpr int kCreate = O_RDWR | O_CREAT | O_EXCL;
  const UniqueFd opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return fail_errno(fmt::format("template: open {}", directory.native()));
  KATA_TRY(draft.memory_, open_below(opened.get(), kMemory, kCreate));
  KATA_TRY(draft.device_state_, open_below(opened.get(), kDeviceState, kCreate));
  return draft;
}

Draft::~Draft() {
  if (directory_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

Status Draft::publish() {
  const json manifest = json::parse(manifest_);
  KATA_TRY(const json files, take_fingerprint(recipe_.files, manifest[kFiles]));
  if (!same_content(manifest[kFiles], files))
    return fail(Code::kFailedPrecondition, "template: its files have changed while it was made");
  KATA_CHECK(sys::write_file_atomically(directory_ / kManifest, manifest_, 0600));
  KATA_CHECK(put_in_place(directory_, target_));
  directory_.clear();
  return {};
}

Status Draft::publish_failure(const std::string& why) {
  json manifest = json::parse(manifest_);
  manifest[kFailure] = why;
  manifest_ = dump(manifest);
  return publish();
}

std::vector<TemplateInfo> TemplateStore::list() const {
  std::vector<TemplateInfo> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_, error)) {
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
  return found;
}

Status TemplateStore::remove_all() const {
  auto root = open_root(root_);
  if (!root && root.error().code() == Code::kNotFound) return {};
  if (!root) return std::unexpected(root.error());
  std::error_code error;
  std::filesystem::remove_all(root_, error);
  if (error) return fail_errno(fmt::format("template: remove {}", root_.native()), error.value());
  return {};
}

}  // namespace kata::factory
