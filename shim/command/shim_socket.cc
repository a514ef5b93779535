#include "shim/command/shim_socket.h"

#include <cerrno>
#include <cstring>
#include <system_error>

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/base/sha256.h"
#include "common/sys/unix_socket.h"

namespace kata::command {
namespace {

constexpr int kBacklog = 128;

std::string hash_of(std::string_view containerd_address, std::string_view nspace,
                    std::string_view sandbox_id) {
  std::filesystem::path joined = std::filesystem::path(containerd_address) / nspace / sandbox_id;
  return sha256_hex(joined.lexically_normal().native());
}

}  // namespace

ShimSocket::ShimSocket(std::string_view containerd_address, std::string_view nspace,
                       std::string_view sandbox_id, const std::filesystem::path& directory)
    : path_(directory / hash_of(containerd_address, nspace, sandbox_id)) {}

ShimSocket ShimSocket::of_bundle(std::string_view containerd_address, std::string_view nspace,
                                 std::string_view sandbox_id, const Bundle& bundle) {
  ShimSocket socket(containerd_address, nspace, sandbox_id);
  auto written = bundle.socket();
  if (written && written->filename() == socket.path_.filename()) socket.path_ = *written;
  return socket;
}

std::string ShimSocket::address() const { return "unix://" + path_.native(); }

Result<UniqueFd> ShimSocket::listen() const {
  std::error_code error;
  std::filesystem::create_directories(path_.parent_path(), error);
  if (error)
    return fail_errno(fmt::format("create {}", path_.parent_path().native()), error.value());
  Result<UniqueFd> listener = sys::listen_unix(path_, kBacklog);
  if (listener || listener.error().code() != Code::kAlreadyExists) return listener;
  if (is_served())
    return fail(Code::kAlreadyExists,
                "a shim of this namespace and id serves on {} already: delete its task first",
                path_.native());
  remove();
  return sys::listen_unix(path_, kBacklog);
}

bool ShimSocket::is_served() const {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  if (!fd || path_.native().size() >= sizeof(address.sun_path)) return false;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.c_str(), path_.native().size());
  // EAGAIN: its queue is full, so there is one.
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
         errno == EAGAIN;
}

void ShimSocket::remove() const {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace kata::command
