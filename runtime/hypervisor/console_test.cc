#include "runtime/hypervisor/console.h"

#include <catch2/catch.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include "common/sys/unix_socket.h"
#include "tests/fakes/temporary_directory.h"

namespace kata::hypervisor {
namespace {

std::vector<std::string> split(std::initializer_list<std::string_view> pieces) {
  std::vector<std::string> lines;
  ConsoleLines console([&](const std::string& line) { lines.push_back(line); });
  for (const auto piece : pieces) console.feed(piece);
  console.finish();
  return lines;
}

using Lines = std::vector<std::string>;

TEST_CASE("lines are cut at newlines, wherever the pieces end") {
  CHECK(split({"one\r\ntw", "o\n", "", "three"}) == Lines{"one", "two", "three"});
  CHECK(split({"\n\n  \r\n"}) == Lines{});
}

TEST_CASE("escape sequences and control characters are dropped") {
  CHECK(split({"\x1b[31mred\x1b", "[0m\n"}) == Lines{"red"});
  CHECK(split({"\x1b", "c\x1b[2Jclean\a\b\n"}) == Lines{"clean"});
  CHECK(split({"a\tb\xc3\xa9\x7f\n"}) == Lines{"a b???"});
}

TEST_CASE("an unfinished escape sequence swallows no further line") {
  CHECK(split({"\x1b[12;\nnext\n"}) == Lines{"next"});
}

TEST_CASE("a line without end is cut") {
  const std::string flood(10 * ConsoleLines::kMaxLineBytes + 1, 'x');
  const auto lines = split({flood});
  REQUIRE(lines.size() == 11);
  CHECK(lines[0].size() == ConsoleLines::kMaxLineBytes);
  CHECK(lines[10] == "x");
}

/// A path for a socket in a directory of its own.
class TemporarySocket {
 public:
  std::filesystem::path path() const { return directory_.path() / "console.sock"; }

 private:
  fakes::TemporaryDirectory directory_;
};

TEST_CASE("the console keeps the last lines and sees the guest's end") {
  const TemporarySocket socket;
  asio::io_context io;
  size_t handled = 0;
  auto console =
      Console::listen(io.get_executor(), socket.path(), [&](const std::string&) { ++handled; });
  REQUIRE(console.has_value());
  {
    auto qemu = sys::connect_unix(socket.path());
    REQUIRE(qemu.has_value());
    std::string text;
    for (int i = 0; i < 100; ++i) text += fmt::format("line {}\n", i);
    text += "Kernel panic - not syncing";
    REQUIRE(::write(qemu->get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  bool ended = false;
  const auto watch = [](Console& watched, bool& flag) -> asio::awaitable<void> {
    co_await watched.wait_end();
    flag = true;
  };
  asio::co_spawn(io, watch(**console, ended), asio::detached);
  io.run();
  CHECK(ended);
  CHECK(handled == 101);
  const auto last = (*console)->last_lines();
  REQUIRE(last.size() == Console::kKeptLines);
  CHECK(last.back() == "Kernel panic - not syncing");
  CHECK(last.front() == "line 21");
}

TEST_CASE("a console nobody connects to ends with its owner, and its socket with it") {
  const TemporarySocket socket;
  asio::io_context io;
  auto console = Console::listen(io.get_executor(), socket.path(), nullptr);
  REQUIRE(console.has_value());
  CHECK(std::filesystem::exists(socket.path()));
  io.poll();
  console->reset();
  io.restart();
  io.run();
  CHECK_FALSE(std::filesystem::exists(socket.path()));
}

TEST_CASE("the socket's path must be free and short") {
  const TemporarySocket socket;
  asio::io_context io;
  auto console = Console::listen(io.get_executor(), socket.path(), nullptr);
  REQUIRE(console.has_value());
  const auto second = Console::listen(io.get_executor(), socket.path(), nullptr);
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().code() == Code::kAlreadyExists);
  console->reset();
  io.run();
}

}  // namespace
}  // namespace kata::hypervisor
