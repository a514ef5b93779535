#include "runtime/hypervisor/console.h"

#include <array>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>

#include "common/log/log.h"
#include "common/sys/event.h"
#include "common/sys/unix_socket.h"

namespace kata::hypervisor {

void ConsoleLines::emit() {
  while (!line_.empty() && line_.back() == ' ') line_.pop_back();
  if (!line_.empty()) on_line_(line_);
  line_.clear();
}

void ConsoleLines::feed(std::string_view bytes) {
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    // Newline first: an unfinished escape sequence must not swallow the lines that follow.
    if (byte == '\n') {
      state_ = State::kText;
      emit();
    } else if (byte == 0x1b) {
      state_ = State::kEscape;
    } else if (state_ == State::kEscape) {
      // ECMA-48: '[' introduces a control sequence; other two-byte sequences end here.
      state_ = byte == '[' ? State::kEscapeSequence : State::kText;
    } else if (state_ == State::kEscapeSequence) {
      if (byte >= 0x40 && byte <= 0x7e) state_ = State::kText;
    } else if (byte == '\t') {
      line_ += ' ';
    } else if (byte >= 0x20) {
      line_ += byte < 0x7f ? c : '?';
    }
    if (line_.size() >= kMaxLineBytes) emit();
  }
}

void ConsoleLines::finish() { emit(); }

struct Console::State {
  State(const asio::any_io_executor& executor, UniqueFd listener, std::filesystem::path path,
        ConsoleLines::LineHandler on_line)
      : acceptor(executor, asio::local::stream_protocol(), listener.release()),
        connection(executor),
        path(std::move(path)),
        handler(std::move(on_line)),
        lines([this](const std::string& line) { keep(line); }),
        ended(executor) {}

  void keep(const std::string& line) {
    last.push_back(line);
    if (last.size() > kKeptLines) last.pop_front();
    if (handler) handler(line);
  }

  asio::local::stream_protocol::acceptor acceptor;
  asio::local::stream_protocol::socket connection;
  std::filesystem::path path;
  ConsoleLines::LineHandler handler;
  ConsoleLines lines;
  std::deque<std::string> last;
  sys::Event ended;
};

Result<std::unique_ptr<Console>> Console::listen(asio::any_io_executor executor,
                                                 const std::filesystem::path& socket,
                                                 ConsoleLines::LineHandler on_line) {
  auto listener = sys::listen_unix(socket, 1);
  if (!listener) return std::unexpected(listener.error().with_stage("the guest's console"));
  auto state = std::make_shared<State>(executor, std::move(*listener), socket, std::move(on_line));
  asio::co_spawn(executor, run(state), asio::detached);
  return std::unique_ptr<Console>(new Console(std::move(state)));
}

asio::awaitable<void> Console::run(std::shared_ptr<State> state) {
  boost::system::error_code error;
  co_await state->acceptor.async_accept(state->connection,
                                        asio::redirect_error(asio::use_awaitable, error));
  boost::system::error_code ignored;
  state->acceptor.close(ignored);
  std::array<char, 4096> buffer;
  while (!error) {
    const auto target = asio::buffer(buffer);
    const size_t size = co_await state->connection.async_read_some(
        target, asio::redirect_error(asio::use_awaitable, error));
    state->lines.feed(std::string_view(buffer.data(), size));
  }
  state->lines.finish();
  state->ended.set();
}

Console::~Console() {
  // The handler may refer to what goes away with the Console's owner.
  state_->handler = nullptr;
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
  state_->connection.close(ignored);
  std::error_code not_there;
  std::filesystem::remove(state_->path, not_there);
}

const std::filesystem::path& Console::socket() const { return state_->path; }

std::vector<std::string> Console::last_lines() const {
  return {state_->last.begin(), state_->last.end()};
}

asio::awaitable<void> Console::wait_end() { return state_->ended.wait(); }

ConsoleLines::LineHandler log_console_lines() {
  return [](const std::string& line) { log::debug(line, {{"source", "guest-console"}}); };
}

}  // namespace kata::hypervisor
