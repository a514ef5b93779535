#include "agent/isolation/keyring.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/isolation/call_error.h"

namespace kata::isolation {

namespace {

// All for who possesses it; view, read, search and link for its user: what runc grants.
constexpr uint32_t kPermissions = 0x3f1b0000;

}  // namespace

Status join_session_keyring(const std::string& container_id) {
  const std::string name = "_ses." + container_id;  // as runc's
  long keyring = ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.c_str());
  if (keyring < 0) {
    if (errno == ENOSYS) return {};
    return fail_call("unable to join session keyring");
  }
  if (::syscall(SYS_keyctl, KEYCTL_SETPERM, keyring, kPermissions) < 0)
    return fail_call("unable to mod keyring permissions");
  return {};
}

}  // namespace kata::isolation
