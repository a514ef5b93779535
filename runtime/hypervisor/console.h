// The host's end of a guest's serial console.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/sys/async.h"

namespace kata::hypervisor {

/// Splits the guest's bytes into lines that are safe to log: at most kMaxLineBytes (the rest of a
/// longer line becomes further lines), without control characters, escape sequences or bytes that
/// are no ASCII.
class ConsoleLines {
 public:
  static constexpr size_t kMaxLineBytes = 1024;
  using LineHandler = std::function<void(const std::string& line)>;

  explicit ConsoleLines(LineHandler on_line) : on_line_(std::move(on_line)) {}
  void feed(std::string_view bytes);
  /// Hands over a last line without newline.
  void finish();

 private:
  enum class State { kText, kEscape, kEscapeSequence };
  void emit();

  LineHandler on_line_;
  std::string line_;
  State state_ = State::kText;
};

/// Listens on a unix socket, accepts one connection (QEMU's) and reads it until its end, at all
/// times: a console that nobody reads would block the guest. Used on one executor.
class Console {
 public:
  /// A panic with its trace has about 45 lines, and what came before it is the cause.
  static constexpr size_t kKeptLines = 80;

  /// Binds `socket` (removed by the destructor) and starts to accept. `on_line` gets every line.
  static Result<std::unique_ptr<Console>> listen(asio::any_io_executor executor,
                                                 const std::filesystem::path& socket,
                                                 ConsoleLines::LineHandler on_line);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  const std::filesystem::path& socket() const;
  /// The last lines, oldest first, for error messages.
  std::vector<std::string> last_lines() const;
  /// Completes when the guest's last byte has been read: QEMU has ended, or never connected and the
  /// Console is destroyed. So that last_lines() holds a panic's end.
  asio::awaitable<void> wait_end();

 private:
  struct State;
  explicit Console(std::shared_ptr<State> state) : state_(std::move(state)) {}
  static asio::awaitable<void> run(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

/// A handler that writes each line to the log at debug level with source=guest-console.
ConsoleLines::LineHandler log_console_lines();

}  // namespace kata::hypervisor
