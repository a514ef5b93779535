#include "runtime/vsock/vhost_user_socket.h"

#include <cerrno>

namespace kata::vsock {

Result<std::optional<VhostUserMessage>> VhostUserSocket::receive() {
  while (header_bytes_ < sizeof(header_)) {
    KATA_TRY(size_t read, read_some(reinterpret_cast<uint8_t*>(&header_) + header_bytes_,
                                    sizeof(header_) - header_bytes_));
    if (read == 0) return std::nullopt;
    header_bytes_ += read;
    if (header_bytes_ == sizeof(header_)) KATA_CHECK(check_header());
  }
  while (payload_bytes_ < message_.payload.size()) {
    KATA_TRY(size_t read, read_some(message_.payload.data() + payload_bytes_,
                                    message_.payload.size() - payload_bytes_));
    if (read == 0) return std::nullopt;
    payload_bytes_ += read;
  }
  header_bytes_ = 0;
  payload_bytes_ = 0;
  return std::exchange(message_, {});
}

Status VhostUserSocket::check_header() {
  if ((header_.flags & kMessageVersionMask) != kMessageVersion) {
    return fail(Code::kInvalidArgument, "vhost-user message {} has flags {:#x}: not version 1",
                header_.request, header_.flags);
  }
  if (header_.flags & kMessageReply) {
    return fail(Code::kInvalidArgument, "vhost-user message {} is a reply to nothing",
                header_.request);
  }
  if (header_.size > kMaxPayloadBytes) {
    return fail(Code::kInvalidArgument, "vhost-user message {} of {} bytes, at most {} are legal",
                header_.request, header_.size, kMaxPayloadBytes);
  }
  message_.request = header_.request;
  message_.flags = header_.flags;
  message_.payload.resize(header_.size);
  return {};
}

Result<size_t> VhostUserSocket::read_some(uint8_t* target, size_t missing) {
  iovec part{target, missing};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t read;
  do {
    read = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (read < 0 && errno == EINTR);
  if (read < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
  if (read < 0) return fail_errno("read from the vhost-user front end");
  KATA_CHECK(take_fds(message));
  if (read == 0) return fail(Code::kUnavailable, "the vhost-user front end closed the connection");
  return static_cast<size_t>(read);
}

Status VhostUserSocket::take_fds(const msghdr& message) {
  // Everything is owned first, so that no descriptor leaks when the message is refused.
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr;
       control = CMSG_NXTHDR(const_cast<msghdr*>(&message), control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      message_.fds.emplace_back(fd);
    }
  }
  if ((message.msg_flags & MSG_CTRUNC) || message_.fds.size() > kMaxMessageFds) {
    return fail(Code::kInvalidArgument, "a vhost-user message carries more than {} descriptors",
                kMaxMessageFds);
  }
  return {};
}

Status VhostUserSocket::reply(uint32_t request, std::span<const uint8_t> payload) {
  VhostUserHeader header{request, kMessageVersion | kMessageReply,
                         static_cast<uint32_t>(payload.size())};
  iovec parts[2] = {{&header, sizeof(header)},
                    {const_cast<uint8_t*>(payload.data()), payload.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  ssize_t sent;
  do {
    sent = ::sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail_errno("answer the vhost-user front end");
  if (static_cast<size_t>(sent) != sizeof(header) + payload.size()) {
    return fail(Code::kUnavailable, "the vhost-user front end does not read its replies");
  }
  return {};
}

}  // namespace kata::vsock
