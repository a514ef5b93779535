#include "seccomp_agent.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

constexpr unsigned kLifetimeS = 10;

[[noreturn]] void give_up(const char* call) {
  std::perror(call);
  std::exit(EXIT_FAILURE);
}

/// The first one beside a message, which is the filter's: seccompFd.
int receive_descriptor(int connection) {
  std::array<char, 64 * 1024> state;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> control = {};
  iovec part{state.data(), state.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC) <= 0) _exit(EXIT_FAILURE);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr) _exit(EXIT_FAILURE);
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  return descriptor;
}

[[noreturn]] void answer_calls(int filter) {
  while (true) {
    seccomp_notif call{};
    if (ioctl(filter, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) _exit(EXIT_SUCCESS);
    seccomp_notif_resp answer{};
    answer.id = call.id;
    answer.error = -ENOMEDIUM;
    ioctl(filter, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

}  // namespace

void start_seccomp_agent(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    give_up("bind");
  if (listen(listener, 1) != 0) give_up("listen");
  if (fork() != 0) return;
  // Whoever waits for the end of the output need not wait for this one.
  for (int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) close(stream);
  alarm(kLifetimeS);
  const int connection = accept(listener, nullptr, nullptr);
  if (connection < 0) _exit(EXIT_FAILURE);
  answer_calls(receive_descriptor(connection));
}
