// A client and a guest for the tests of shim/io: real fifos, socket pairs, the copier's own thread.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>

#include <boost/asio/post.hpp>
#include <catch2/catch.hpp>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/unique_fd.h"
#include "shim/io/copier.h"
#include "shim/io/stdio.h"

namespace kata::io::testing {

inline constexpr std::chrono::seconds kDeadline(60);
inline constexpr int kDeadlineMs = 60'000;

/// A directory with fifos "in", "out" and "err", removed with the object.
class FifoDir {
 public:
  FifoDir() {
    char name[] = "/tmp/kata-io-test-XXXXXX";
    dir_ = ::mkdtemp(name);
    for (const char* fifo : {"in", "out", "err"}) ::mkfifo(path(fifo).c_str(), 0600);
  }
  ~FifoDir() { std::filesystem::remove_all(dir_); }

  std::string path(const std::string& name) const { return dir_ + "/" + name; }

 private:
  std::string dir_;
};

inline UniqueFd open_end(const std::string& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
  // No assertion of Catch2's, which belong to the test's own thread.
  if (!fd) throw std::runtime_error(path + ": " + std::strerror(errno));
  return fd;
}

/// Blocks in open(2), in a thread, until the shim has opened its end.
inline std::future<UniqueFd> open_in_background(const std::string& path, int flags) {
  return std::async(std::launch::async, [path, flags] { return open_end(path, flags); });
}

/// The host's end and the guest's end of a stream. The host's is non-blocking.
struct StreamPair {
  UniqueFd host;
  UniqueFd guest;

  StreamPair() {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    host.reset(fds[0]);
    guest.reset(fds[1]);
    ::fcntl(host.get(), F_SETFL, O_NONBLOCK);
  }
};

inline bool wait_for_events(int fd, short events) {
  pollfd state{.fd = fd, .events = events, .revents = 0};
  return ::poll(&state, 1, kDeadlineMs) == 1;
}

/// The peer has closed its end of the socket.
inline bool hung_up(int fd) {
  pollfd state{.fd = fd, .events = 0, .revents = 0};
  return ::poll(&state, 1, kDeadlineMs) == 1 && (state.revents & POLLHUP);
}

inline void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0) throw std::runtime_error("write: " + std::string(std::strerror(errno)));
    text.remove_prefix(static_cast<size_t>(count));
  }
}

/// Exactly `size` bytes, or fewer at the end of file.
inline std::string read_some(int fd, size_t size) {
  std::string text(size, '\0');
  size_t got = 0;
  while (got < size && wait_for_events(fd, POLLIN)) {
    ssize_t count = ::read(fd, text.data() + got, size - got);
    if (count <= 0) break;
    got += static_cast<size_t>(count);
  }
  text.resize(got);
  return text;
}

struct Digest {
  size_t bytes = 0;
  uint64_t hash = 14695981039346656037u;

  void add(std::string_view data) {
    bytes += data.size();
    for (unsigned char c : data) hash = (hash ^ c) * 1099511628211u;
  }
  bool operator==(const Digest&) const = default;
};

/// Writes `bytes` random bytes in pieces of uneven sizes.
inline Digest write_random(int fd, size_t bytes, unsigned seed) {
  std::mt19937_64 random(seed);
  std::string piece;
  Digest digest;
  while (digest.bytes < bytes) {
    piece.resize(std::min<size_t>(bytes - digest.bytes, 1 + random() % 150'000));
    for (size_t i = 0; i < piece.size(); i += 8) {
      uint64_t word = random();
      std::memcpy(piece.data() + i, &word, std::min<size_t>(8, piece.size() - i));
    }
    write_all(fd, piece);
    digest.add(piece);
  }
  return digest;
}

/// Reads to the end of file.
inline Digest read_to_end(int fd) {
  std::string buffer(100'000, '\0');
  Digest digest;
  for (ssize_t count; (count = ::read(fd, buffer.data(), buffer.size())) > 0;)
    digest.add(std::string_view(buffer).substr(0, static_cast<size_t>(count)));
  return digest;
}

/// Returns when the copier has done what was posted to it before.
inline void flush_copier() {
  std::promise<void> done;
  asio::post(Copier::instance().executor(), [&] { done.set_value(); });
  REQUIRE(done.get_future().wait_for(kDeadline) == std::future_status::ready);
}

inline size_t open_fds() {
  std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

/// Makes the copier open what it opens only once.
inline void open_copier() {
  FifoDir dir;
  std::promise<bool> watching;
  asio::post(Copier::instance().executor(), [&] {
    UniqueFd fifo = open_end(dir.path("out"), O_RDWR | O_NONBLOCK);
    bool started = ReaderWatch::start(fifo.get(), IN_OPEN).has_value();
    fifo.reset();
    watching.set_value(started);
  });
  auto result = watching.get_future();
  REQUIRE(result.wait_for(kDeadline) == std::future_status::ready);
  REQUIRE(result.get());
}

/// The sandbox's side: one thread, which is the test's own.
class Sandbox {
 public:
  Sandbox() {
    // As in the shim: a broken pipe is an error of one stream.
    ::signal(SIGPIPE, SIG_IGN);
    // Opens the context's descriptors, so that a test may count its own.
    asio::steady_timer timer(context_, std::chrono::seconds(0));
    timer.async_wait([](boost::system::error_code) {});
    context_.run();
  }

  std::unique_ptr<sandbox::ProcessIo> open(const StdioConfig& config) {
    auto io = start(config);
    if (!io) FAIL(io.error().message());
    return *std::move(io);
  }

  Result<std::unique_ptr<sandbox::ProcessIo>> start(const StdioConfig& config) {
    return run(open_stdio(context_.get_executor(), config));
  }

  asio::any_io_executor executor() { return context_.get_executor(); }

  template <typename T>
  Result<T> run(Async<T> coroutine) {
    Result<T> outcome = fail(Code::kDeadlineExceeded, "the coroutine did not complete");
    bool done = false;
    asio::co_spawn(context_, std::move(coroutine), [&](std::exception_ptr, Result<T> result) {
      outcome = std::move(result);
      done = true;
    });
    run_until([&] { return done; });
    return outcome;
  }

  /// False: not within the deadline.
  template <typename Condition>
  bool run_until(Condition condition) {
    auto deadline = std::chrono::steady_clock::now() + kDeadline;
    context_.restart();
    while (!condition() && context_.run_one_until(deadline) > 0) {
    }
    return condition();
  }

  /// Starts to wait for drained(): the flag tells when it has completed.
  std::shared_ptr<bool> start_waiting(sandbox::ProcessIo& io) {
    auto drained = std::make_shared<bool>(false);
    asio::co_spawn(context_, watch(io.drained(), drained), asio::detached);
    run_ready();
    return drained;
  }

  void run_ready() {
    context_.restart();
    context_.poll();
  }

  /// False: not within the deadline.
  bool drains(sandbox::ProcessIo& io) {
    auto drained = start_waiting(io);
    return run_until([&] { return *drained; });
  }

  /// drained() has completed by now.
  bool is_drained(sandbox::ProcessIo& io) { return *start_waiting(io); }

 private:
  static asio::awaitable<void> watch(Async<void> end, std::shared_ptr<bool> drained) {
    *drained = (co_await std::move(end)).has_value();
  }

  asio::io_context context_{1};
};

}  // namespace kata::io::testing
