#include "agent/container/sync.h"

#include <array>

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "common/oci/parse.h"

namespace kata::container {
namespace {

struct Header {
  uint32_t type;
  uint32_t size;
};

// The largest body is a configuration: the spec, a filter of at most 64 Ki instructions, and paths.
constexpr size_t kMaxBodyBytes = oci::kMaxSpecBytes + 520 * 1024 + 1024 * 1024;

template <typename T>
void append_value(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
bool take_value(std::string_view& in, T& value) {
  if (in.size() < sizeof value) return false;
  in.copy(reinterpret_cast<char*>(&value), sizeof value);
  in.remove_prefix(sizeof value);
  return true;
}

void append_text(std::string& out, std::string_view text) {
  append_value(out, static_cast<uint32_t>(text.size()));
  out += text;
}

bool take_text(std::string_view& in, std::string& text) {
  uint32_t size = 0;
  if (!take_value(in, size) || size > in.size()) return false;
  text = in.substr(0, size);
  in.remove_prefix(size);
  return true;
}

Error too_slow() {
  return Error(Code::kDeadlineExceeded,
               "the process that is being started does not answer (is it stopped or frozen?)");
}

/// Room for one descriptor beside a message.
struct Attachment {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> buffer = {};

  void put(msghdr& message, int descriptor) {
    message.msg_control = buffer.data();
    message.msg_controllen = buffer.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }

  /// More than one does not fit: the kernel closes the rest.
  static UniqueFd take(msghdr& message) {
    for (auto* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      int descriptor = -1;
      if (header->cmsg_len < CMSG_LEN(sizeof descriptor)) continue;
      std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
      return UniqueFd(descriptor);
    }
    return UniqueFd();
  }
};

/// Bytes read: fewer than `size` only at the end of the stream.
Result<size_t> read_fully(int fd, char* data, size_t size, UniqueFd& descriptor) {
  size_t done = 0;
  while (done < size) {
    iovec part{data + done, size - done};
    Attachment attachment;
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = attachment.buffer.data();
    message.msg_controllen = attachment.buffer.size();
    ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (got >= 0) {
      if (UniqueFd came = Attachment::take(message)) descriptor = std::move(came);
    }
    if (got == 0) break;
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == ECONNRESET) break;
      if (errno == EAGAIN) return std::unexpected(too_slow());
      return fail_errno("receive from the sync socket");
    }
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace

std::string encode_config(const InitConfig& config) {
  std::string body;
  body.reserve(3 * sizeof(uint32_t) + config.rootfs.size() + config.filter.size() +
               config.personality.size() + config.json.size());
  append_text(body, config.rootfs);
  append_text(body, config.filter);
  append_text(body, config.personality);
  append_text(body, config.container.id);
  append_text(body, config.container.bundle);
  append_value(body, static_cast<int32_t>(config.namespaces));
  append_value(body, static_cast<uint32_t>(config.container.hook_programs.size()));
  for (const auto& [path, file] : config.container.hook_programs) {
    append_text(body, path);
    append_text(body, file);
  }
  body += config.json;
  return body;
}

Result<InitConfig> decode_config(std::string_view body) {
  InitConfig config;
  isolation::ContainerInfo& container = config.container;
  int32_t namespaces = 0;
  uint32_t programs = 0;
  bool whole = take_text(body, config.rootfs) && take_text(body, config.filter) &&
               take_text(body, config.personality) && take_text(body, container.id) &&
               take_text(body, container.bundle) && take_value(body, namespaces) &&
               take_value(body, programs);
  for (; whole && programs > 0; --programs) {
    std::string path;
    whole = take_text(body, path) && take_text(body, container.hook_programs[path]);
  }
  if (!whole) return fail(Code::kInternal, "the init's configuration is cut short");
  config.namespaces = namespaces;
  config.json = body;
  return config;
}

std::string encode_mount(uint32_t index) {
  std::string body;
  append_value(body, index);
  return body;
}

Result<uint32_t> decode_mount(std::string_view body) {
  uint32_t index = 0;
  if (!take_value(body, index)) return fail(Code::kInternal, "a mount's index is cut short");
  return index;
}

std::string encode_error(const Error& error) {
  std::string body;
  append_value(body, static_cast<int32_t>(error.code()));
  body += error.message();
  return body;
}

Error decode_error(std::string_view body) {
  int32_t code = 0;
  if (!take_value(body, code)) return Error(Code::kInternal, "the init's error is cut short");
  return Error(code_from_wire(code), std::string(body));
}

Status SyncSocket::set_timeout(std::chrono::milliseconds timeout) {
  auto seconds = std::chrono::floor<std::chrono::seconds>(timeout);
  timeval value{};
  value.tv_sec = seconds.count();
  value.tv_usec = std::chrono::microseconds(timeout - seconds).count();
  for (int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    if (setsockopt(socket_.get(), SOL_SOCKET, option, &value, sizeof value) != 0) {
      return fail_errno("set the time-out of the sync socket");
    }
  }
  return {};
}

Status SyncSocket::send(MessageType type, std::string_view body, int descriptor) {
  if (body.size() > kMaxBodyBytes) {
    return fail(Code::kInvalidArgument, "a message of {} bytes, {} are possible", body.size(),
                kMaxBodyBytes);
  }
  Header header{static_cast<uint32_t>(type), static_cast<uint32_t>(body.size())};
  std::array<iovec, 2> parts = {iovec{&header, sizeof header},
                                iovec{const_cast<char*>(body.data()), body.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  Attachment attachment;
  if (descriptor >= 0) attachment.put(message, descriptor);
  size_t left = sizeof header + body.size();
  while (left > 0) {
    ssize_t sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE || errno == ECONNRESET) {
        return fail(Code::kUnavailable, "the other end of the sync socket has gone");
      }
      if (errno == EAGAIN) return std::unexpected(too_slow());
      return fail_errno("send on the sync socket");
    }
    message.msg_control = nullptr;
    message.msg_controllen = 0;
    left -= static_cast<size_t>(sent);
    auto skip = static_cast<size_t>(sent);
    for (iovec& part : parts) {
      size_t taken = std::min(skip, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + taken;
      part.iov_len -= taken;
      skip -= taken;
    }
  }
  return {};
}

Result<std::optional<Message>> SyncSocket::receive() {
  Header header{};
  Message message;
  KATA_TRY(size_t got, read_fully(socket_.get(), reinterpret_cast<char*>(&header), sizeof header,
                                  message.descriptor));
  if (got < sizeof header) return std::nullopt;
  if (header.size > kMaxBodyBytes) {
    return fail(Code::kInternal, "a sync message claims {} bytes, {} are possible", header.size,
                kMaxBodyBytes);
  }
  message.type = static_cast<MessageType>(header.type);
  message.body.resize(header.size);
  KATA_TRY(got,
           read_fully(socket_.get(), message.body.data(), message.body.size(), message.descriptor));
  if (got < header.size) return std::nullopt;
  return message;
}

}  // namespace kata::container
