#include "common/error/error.h"

#include <array>
#include <cstring>

namespace kata {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kCancelled:
      return "cancelled";
    case Code::kUnknown:
      return "unknown";
    case Code::kInvalidArgument:
      return "invalid argument";
    case Code::kDeadlineExceeded:
      return "deadline exceeded";
    case Code::kNotFound:
      return "not found";
    case Code::kAlreadyExists:
      return "already exists";
    case Code::kPermissionDenied:
      return "permission denied";
    case Code::kResourceExhausted:
      return "resource exhausted";
    case Code::kFailedPrecondition:
      return "failed precondition";
    case Code::kAborted:
      return "aborted";
    case Code::kOutOfRange:
      return "out of range";
    case Code::kUnimplemented:
      return "not implemented";
    case Code::kInternal:
      return "internal";
    case Code::kUnavailable:
      return "unavailable";
  }
  return "unknown";
}

Code code_from_wire(int wire) {
  if (wire < static_cast<int>(Code::kCancelled) || wire > static_cast<int>(Code::kUnavailable))
    return Code::kUnknown;
  return static_cast<Code>(wire);
}

Code code_from_errno(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ESRCH:
    case ENXIO:
    case ENODEV:
      return Code::kNotFound;
    case EEXIST:
      return Code::kAlreadyExists;
    case EPERM:
    case EACCES:
      return Code::kPermissionDenied;
    case EINVAL:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENOEXEC:
      return Code::kInvalidArgument;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case EDQUOT:
      return Code::kResourceExhausted;
    case ETIMEDOUT:
      return Code::kDeadlineExceeded;
    case ECANCELED:
      return Code::kCancelled;
    case ENOSYS:
    case EOPNOTSUPP:
      return Code::kUnimplemented;
    case EBUSY:
    case ENOTEMPTY:
      return Code::kFailedPrecondition;
    case ECONNREFUSED:
    case ECONNRESET:
    case ENOTCONN:
    case EPIPE:
    case EAGAIN:
      return Code::kUnavailable;
    default:
      return Code::kUnknown;
  }
}

Error errno_error(std::string_view what, int error_number) {
  std::array<char, 128> buffer{};
  // GNU strerror_r: thread-safe, and returns the text rather than filling the buffer.
  const char* text = strerror_r(error_number, buffer.data(), buffer.size());
  return Error(code_from_errno(error_number), fmt::format("{}: {}", what, text));
}

}  // namespace kata
