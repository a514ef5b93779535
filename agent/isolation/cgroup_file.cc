#include "agent/isolation/cgroup_file.h"

#include <array>
#include <charconv>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "common/base/unique_fd.h"

namespace kata::isolation {

namespace {

constexpr const char* kEvents = "cgroup.events";
constexpr size_t kChunkBytes = 4096;

Result<UniqueFd> open_file(int group, const char* name, int flags) {
  UniqueFd file(::openat(group, name, flags | O_CLOEXEC));
  if (!file) return fail_errno(fmt::format("open {}", name));
  return file;
}

Result<std::string> read_from_start(int file, const char* name) {
  std::string out;
  std::array<char, kChunkBytes> chunk;
  for (;;) {
    ssize_t length = ::pread(file, chunk.data(), chunk.size(), static_cast<off_t>(out.size()));
    // ENODEV: the group was removed while its file was open.
    if (length < 0) return fail_errno(fmt::format("read {}", name));
    if (length == 0) return out;
    out.append(chunk.data(), static_cast<size_t>(length));
  }
}

Result<uint64_t> find_key(std::string_view text, const char* name, std::string_view key) {
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ' ') continue;
    line.remove_prefix(key.size() + 1);
    uint64_t value = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), value).ec == std::errc())
      return value;
  }
  return fail(Code::kNotFound, "{} has no {}", name, key);
}

}  // namespace

Result<std::string> read_cgroup_file(int group, const char* name) {
  KATA_TRY(auto file, open_file(group, name, O_RDONLY));
  return read_from_start(file.get(), name);
}

Status write_cgroup_file(int group, const char* name, std::string_view value) {
  KATA_TRY(auto file, open_file(group, name, O_WRONLY));
  if (::write(file.get(), value.data(), value.size()) < 0)
    return fail_errno(fmt::format("write {} to {}", value, name));
  return {};
}

Result<uint64_t> read_cgroup_key(int group, const char* name, std::string_view key) {
  KATA_TRY(auto text, read_cgroup_file(group, name));
  return find_key(text, name, key);
}

Status wait_cgroup_event(int group, std::string_view key, uint64_t value,
                         std::chrono::steady_clock::time_point deadline) {
  KATA_TRY(auto file, open_file(group, kEvents, O_RDONLY));
  for (;;) {
    KATA_TRY(auto text, read_from_start(file.get(), kEvents));
    KATA_TRY(auto now, find_key(text, kEvents, key));
    if (now == value) return {};
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return fail(Code::kDeadlineExceeded, "cgroup is still {} {}", key, now);
    pollfd wait = {file.get(), POLLPRI, 0};
    if (::poll(&wait, 1, static_cast<int>(left.count())) < 0 && errno != EINTR)
      return fail_errno(fmt::format("poll {}", kEvents));
  }
}

}  // namespace kata::isolation
