// Structured log lines in the format of containerd's own log (logfmt), on the host and in the
// guest.
//
// Every line carries the process's sandbox id; pass the container id where one is at hand:
//   log::info("container started", {{"container", id}, {"pid", pid_text}});
// Threading: all functions may be called from any thread; a line is one write(2), so lines never
// mix.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace kata::log {

enum class Level { kDebug, kInfo, kWarning, kError };

/// One key and its value. Values are quoted and escaped, so that guest-controlled text stays one
/// field.
using Field = std::pair<std::string_view, std::string>;

/// Where lines go. The descriptor is borrowed and stays open for the life of the process. A full
/// non-blocking pipe drops the line: logging never blocks a pod. Default: standard error.
void set_output(int fd);
void set_level(Level minimum);
/// Parses "debug", "info", "warning"/"warn", "error"; anything else is info.
Level level_from_name(std::string_view name);
/// A field of every further line, e.g. ("sandbox", id).
void set_context(std::string_view key, std::string value);

void write(Level level, std::string_view message, std::initializer_list<Field> fields);

inline void debug(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kDebug, message, fields);
}
inline void info(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kInfo, message, fields);
}
inline void warning(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kWarning, message, fields);
}
inline void error(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::kError, message, fields);
}

}  // namespace kata::log
