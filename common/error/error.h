// Errors that keep their code from the source to containerd.
//
// Every fallible function of the project returns Result<T>. The code is chosen where the failure is
// first understood and is never re-derived from message text; outer layers only add context to the
// message. Codes mirror the gRPC status codes, so the edges (shim/service, agent/rpc) translate
// them one to one.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace kata {

/// Numerically equal to google.rpc.Code (https://grpc.io/docs/guides/status-codes).
enum class Code : int {
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
};

std::string_view code_name(Code code);

/// A number from the wire as a Code; what no Code names becomes kUnknown.
Code code_from_wire(int wire);

class [[nodiscard]] Error {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  bool operator==(const Error&) const = default;

  /// The same error seen from further out: "<stage>: <message>", the code kept.
  Error with_stage(std::string_view stage) const {
    return Error(code_, fmt::format("{}: {}", stage, message_));
  }

 private:
  Code code_;
  std::string message_;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

template <typename... Args>
std::unexpected<Error> fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error(code, fmt::format(format, std::forward<Args>(args)...)));
}

/// The code that an errno value means to a client (ENOENT is kNotFound, EPERM kPermissionDenied…).
Code code_from_errno(int error_number);

/// An error from a failed system call: "<what>: <strerror>". Call it before anything else can
/// change errno, or pass the value.
Error errno_error(std::string_view what, int error_number = errno);

inline std::unexpected<Error> fail_errno(std::string_view what, int error_number = errno) {
  return std::unexpected(errno_error(what, error_number));
}

}  // namespace kata

#define KATA_CONCAT_INNER(a, b) a##b
#define KATA_CONCAT(a, b) KATA_CONCAT_INNER(a, b)

/// KATA_TRY(auto file, open_file(path)); declares `file`, or returns the error from this function.
#define KATA_TRY(declaration, expression)                                        \
  auto KATA_CONCAT(kata_try_, __LINE__) = (expression);                          \
  if (!KATA_CONCAT(kata_try_, __LINE__))                                         \
    return std::unexpected(std::move(KATA_CONCAT(kata_try_, __LINE__)).error()); \
  declaration = *std::move(KATA_CONCAT(kata_try_, __LINE__))

/// KATA_CHECK(mount_proc()); returns the error from this function, or goes on.
#define KATA_CHECK(expression)                                \
  do {                                                        \
    if (auto kata_check_ = (expression); !kata_check_)        \
      return std::unexpected(std::move(kata_check_).error()); \
  } while (false)

/// The same two inside a coroutine. The expression may hold co_await.
#define KATA_CO_TRY(declaration, expression)                                        \
  auto KATA_CONCAT(kata_try_, __LINE__) = (expression);                             \
  if (!KATA_CONCAT(kata_try_, __LINE__))                                            \
    co_return std::unexpected(std::move(KATA_CONCAT(kata_try_, __LINE__)).error()); \
  declaration = *std::move(KATA_CONCAT(kata_try_, __LINE__))

#define KATA_CO_CHECK(expression)                                                \
  do {                                                                           \
    auto kata_check_ = (expression);                                             \
    if (!kata_check_) co_return std::unexpected(std::move(kata_check_).error()); \
  } while (false)
