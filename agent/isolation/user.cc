#include "agent/isolation/user.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"
#include "common/base/unique_fd.h"

namespace kata::isolation {

namespace {

// The image's author decides how long it is; a real one has some kilobytes.
constexpr size_t kMaxPasswdBytes = 4 * 1024 * 1024;

std::string read_passwd(const std::string& path) {
  // O_NONBLOCK: an image may hold a FIFO there.
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info;
  if (!file || ::fstat(file.get(), &info) < 0 || !S_ISREG(info.st_mode)) return "";
  std::string content(std::min(static_cast<size_t>(info.st_size), kMaxPasswdBytes), '\0');
  size_t length = 0;
  while (length < content.size()) {
    ssize_t part = ::read(file.get(), content.data() + length, content.size() - length);
    if (part <= 0) break;
    length += static_cast<size_t>(part);
  }
  content.resize(length);
  return content;
}

/// name:password:uid:gid:gecos:home:shell
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// The kernel's EINVAL has one reason only.
std::unexpected<Error> fail_identity(std::string_view kind, uint32_t id) {
  if (errno != EINVAL) return fail_call(fmt::format("set{} {}", kind, id));
  return fail(Code::kInvalidArgument, "cannot set {} to unmapped user in user namespace: {}", kind,
              id);
}

}  // namespace

Status become_user(const oci::User& user) {
  if (::setgroups(user.additional_gids.size(), user.additional_gids.data()) < 0)
    return fail_call("setgroups");
  if (::setresgid(user.gid, user.gid, user.gid) < 0) return fail_identity("gid", user.gid);
  if (::setresuid(user.uid, user.uid, user.uid) < 0) return fail_identity("uid", user.uid);
  return {};
}

std::string home_of(uid_t uid, const std::string& passwd_path) {
  constexpr size_t kUidField = 2;
  constexpr size_t kHomeField = 5;
  auto content = read_passwd(passwd_path);
  for (auto line : split(content, '\n')) {
    auto fields = split(line, ':');
    if (fields.size() <= kHomeField) continue;
    auto text = fields[kUidField];
    uid_t found = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), found);
    if (error == std::errc() && end == text.data() + text.size() && found == uid)
      return fields[kHomeField].empty() ? "/" : std::string(fields[kHomeField]);
  }
  return "/";
}

}  // namespace kata::isolation
