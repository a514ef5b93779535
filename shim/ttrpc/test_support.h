// For unit tests of coroutines and of ttrpc peers.
#pragma once

#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <unistd.h>

#include "common/sys/async.h"
#include "common/sys/unix_socket.h"
#include "containerd/ttrpc.pb.h"
#include "shim/ttrpc/channel.h"

namespace kata::testing {

/// Only a hanging test ever waits that long.
inline constexpr std::chrono::seconds kTestLimit{60};

/// Runs `context` until the coroutine has completed; throws when it takes too long.
template <typename T>
T run(asio::io_context& context, asio::awaitable<T> coroutine) {
  std::optional<T> value;
  std::exception_ptr thrown;
  bool done = false;
  asio::co_spawn(context, std::move(coroutine), [&](std::exception_ptr exception, T result) {
    thrown = exception;
    value = std::move(result);
    done = true;
  });
  auto deadline = std::chrono::steady_clock::now() + kTestLimit;
  context.restart();
  while (!done && context.run_one_until(deadline) > 0) {
  }
  if (thrown) std::rethrow_exception(thrown);
  if (!done) throw std::runtime_error("the coroutine did not complete");
  return *std::move(value);
}

inline void run(asio::io_context& context, asio::awaitable<void> coroutine) {
  auto wrapped = [](asio::awaitable<void> inner) -> asio::awaitable<bool> {
    co_await std::move(inner);
    co_return true;
  };
  run(context, wrapped(std::move(coroutine)));
}

/// Runs `context` until `condition` holds.
template <typename Condition>
void run_until(asio::io_context& context, Condition condition) {
  auto deadline = std::chrono::steady_clock::now() + kTestLimit;
  context.restart();
  while (!condition())
    if (context.run_one_until(deadline) == 0) throw std::runtime_error("the condition never held");
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = "/tmp/kata-test-XXXXXX";
    if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::shared_ptr<ttrpc::Channel> connect_raw(asio::io_context& context,
                                                   const std::filesystem::path& path) {
  ttrpc::Socket socket(context);
  socket.connect(asio::local::stream_protocol::endpoint(path.native()));
  return std::make_shared<ttrpc::Channel>(std::move(socket));
}

inline std::string encode_request(const std::string& service, const std::string& method,
                                  const std::string& payload = "", int64_t timeout_nano = 0) {
  ::ttrpc::Request request;
  request.set_service(service);
  request.set_method(method);
  request.set_payload(payload);
  request.set_timeout_nano(timeout_nano);
  return request.SerializeAsString();
}

struct RawAnswer {
  uint32_t stream_id = 0;
  int code = 0;
  std::string message;
  std::string payload;
};

inline asio::awaitable<RawAnswer> read_answer(std::shared_ptr<ttrpc::Channel> channel) {
  auto frame = co_await channel->read();
  if (!frame) throw std::runtime_error(frame.error().message());
  ::ttrpc::Response response;
  if (!response.ParseFromString(frame->payload)) throw std::runtime_error("no response");
  co_return RawAnswer{.stream_id = frame->header.stream_id,
                      .code = response.status().code(),
                      .message = response.status().message(),
                      .payload = response.payload()};
}

}  // namespace kata::testing
