#include "common/network/netlink.h"

#include <array>

#include <linux/netlink.h>
#include <netlink/errno.h>
#include <sys/socket.h>

namespace kata::network {
namespace {

/// libnl has numbers of its own for what the kernel says.
int errno_of(int nl_error) {
  switch (nl_error < 0 ? -nl_error : nl_error) {
    case NLE_EXIST:
      return EEXIST;
    case NLE_OBJ_NOTFOUND:
    case NLE_NODEV:
      return ENODEV;
    case NLE_PERM:
    case NLE_NOACCESS:
      return EPERM;
    case NLE_NOMEM:
      return ENOMEM;
    case NLE_BUSY:
      return EBUSY;
    case NLE_OPNOTSUPP:
      return EOPNOTSUPP;
    case NLE_AGAIN:
      return EAGAIN;
    default:
      return EINVAL;
  }
}

}  // namespace

Error netlink_error(std::string_view what, int error) {
  return Error(code_from_errno(errno_of(error)), fmt::format("{}: {}", what, nl_geterror(error)));
}

Status netlink_status(std::string_view what, int answer) {
  if (answer < 0) return std::unexpected(netlink_error(what, answer));
  return {};
}

Result<NlSocket> open_netlink() {
  NlSocket socket(nl_socket_alloc());
  if (!socket) return fail(Code::kResourceExhausted, "netlink: no memory for a socket");
  KATA_CHECK(netlink_status("netlink: connect", nl_connect(socket.get(), NETLINK_ROUTE)));
  return socket;
}

Result<NlSocket> open_events(std::initializer_list<int> groups) {
  KATA_TRY(NlSocket socket, open_netlink());
  nl_socket_disable_seq_check(socket.get());
  for (const int group : groups)
    KATA_CHECK(netlink_status("netlink: listen", nl_socket_add_membership(socket.get(), group)));
  KATA_CHECK(netlink_status("netlink: listen", nl_socket_set_nonblocking(socket.get())));
  return socket;
}

void drain_events(const NlSocket& socket) {
  std::array<char, 16384> buffer;
  while (true) {
    const ssize_t count =
        ::recv(nl_socket_get_fd(socket.get()), buffer.data(), buffer.size(), MSG_DONTWAIT);
    // ENOBUFS says that some were lost, once; there may be more after it.
    if (count < 0 && errno != EINTR && errno != ENOBUFS) return;
  }
}

std::string to_text(const nl_addr* address, bool with_prefix) {
  if (address == nullptr) return "";
  std::array<char, 128> text{};
  nl_addr2str(address, text.data(), text.size());
  std::string out(text.data());
  // libnl leaves out a prefix that is the whole address.
  if (with_prefix && out.find('/') == std::string::npos)
    out += fmt::format("/{}", nl_addr_get_prefixlen(address));
  return out;
}

Result<NlAddress> parse_address(const std::string& text, int family) {
  nl_addr* parsed = nullptr;
  if (const int answer = nl_addr_parse(text.c_str(), family, &parsed); answer < 0)
    return fail(Code::kInvalidArgument, "\"{}\" is no address of the wanted kind: {}", text,
                nl_geterror(answer));
  return NlAddress(parsed);
}

}  // namespace kata::network
