#include "common/log/log.h"

#include <atomic>
#include <cerrno>
#include <mutex>
#include <vector>

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

namespace kata::log {
namespace {

std::atomic<int> output_fd{STDERR_FILENO};
std::atomic<Level> minimum_level{Level::kInfo};

std::mutex context_mutex;
std::string context_text;  // " key=value …", guarded by context_mutex

std::string_view level_name(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "info";
}

bool is_plain(std::string_view value) {
  if (value.empty()) return false;
  for (char c : value) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '.' || c == '_' || c == '/' || c == '@' || c == '^' || c == '+' ||
                 c == ':';
    if (!plain) return false;
  }
  return true;
}

void append_value(fmt::memory_buffer& line, std::string_view value) {
  auto out = std::back_inserter(line);
  if (is_plain(value)) {
    line.append(value);
    return;
  }
  line.push_back('"');
  for (unsigned char c : value) {
    if (c == '"' || c == '\\') {
      line.push_back('\\');
      line.push_back(static_cast<char>(c));
    } else if (c == '\n') {
      line.append(std::string_view("\\n"));
    } else if (c == '\t') {
      line.append(std::string_view("\\t"));
    } else if (c < 0x20 || c == 0x7f) {
      fmt::format_to(out, "\\x{:02x}", c);
    } else {
      line.push_back(static_cast<char>(c));
    }
  }
  line.push_back('"');
}

void append_time(fmt::memory_buffer& line) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  fmt::format_to(std::back_inserter(line), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
                 parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
                 parts.tm_sec, now.tv_nsec / 1000);
}

}  // namespace

void set_output(int fd) { output_fd = fd; }

void set_level(Level minimum) { minimum_level = minimum; }

Level level_from_name(std::string_view name) {
  if (name == "debug" || name == "trace") return Level::kDebug;
  if (name == "warning" || name == "warn") return Level::kWarning;
  if (name == "error") return Level::kError;
  return Level::kInfo;
}

void set_context(std::string_view key, std::string value) {
  fmt::memory_buffer text;
  text.push_back(' ');
  text.append(key);
  text.push_back('=');
  append_value(text, value);
  std::lock_guard lock(context_mutex);
  context_text += fmt::to_string(text);
}

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (level < minimum_level.load(std::memory_order_relaxed)) return;
  fmt::memory_buffer line;
  line.append(std::string_view("time=\""));
  append_time(line);
  fmt::format_to(std::back_inserter(line), "\" level={} msg=", level_name(level));
  append_value(line, message);
  {
    std::lock_guard lock(context_mutex);
    line.append(context_text);
  }
  for (const auto& [key, value] : fields) {
    line.push_back(' ');
    line.append(key);
    line.push_back('=');
    append_value(line, value);
  }
  line.push_back('\n');
  int saved_errno = errno;
  while (::write(output_fd, line.data(), line.size()) < 0 && errno == EINTR) {
  }
  errno = saved_errno;
}

}  // namespace kata::log
