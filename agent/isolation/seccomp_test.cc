#include "agent/isolation/seccomp.h"

#include <cerrno>
#include <csignal>
#include <functional>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace kata::isolation {
namespace {

oci::SeccompRule rule(std::vector<std::string> names, std::string action) {
  oci::SeccompRule out;
  out.names = std::move(names);
  out.action = std::move(action);
  return out;
}

oci::Seccomp profile(std::string default_action, std::vector<oci::SeccompRule> rules) {
  oci::Seccomp out;
  out.default_action = std::move(default_action);
  out.syscalls = std::move(rules);
  return out;
}

/// The errno with which `call` fails below the filter, 0 if it does not; above 1000: the signal
/// that ends the process.
int errno_below(const oci::Seccomp& seccomp, const std::function<long()>& call) {
  const auto filter = compile_filter(seccomp);
  REQUIRE(filter);
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!install_filter(*filter)) ::_exit(255);
    errno = 0;
    ::_exit(call() < 0 ? errno : 0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

long make_directory() { return ::mkdir("/proc/none", 0700); }

TEST_CASE("actions") {
  const std::vector<std::string> names = {"mkdir", "mkdirat"};
  const auto outcome = [&](const std::string& action) {
    return errno_below(profile("SCMP_ACT_ALLOW", {rule(names, action)}), make_directory);
  };
  const int allowed = outcome("SCMP_ACT_ALLOW");
  CHECK(allowed == ENOENT);
  CHECK(outcome("SCMP_ACT_LOG") == allowed);
  CHECK(outcome("SCMP_ACT_ERRNO") == EPERM);
  CHECK(outcome("SCMP_ACT_TRACE") == ENOSYS);  // nobody traces
  CHECK(outcome("SCMP_ACT_TRAP") == 1000 + SIGSYS);
  CHECK(outcome("SCMP_ACT_KILL") == 1000 + SIGSYS);
  CHECK(outcome("SCMP_ACT_KILL_PROCESS") == 1000 + SIGSYS);
}

TEST_CASE("conditions on one argument are alternatives, on several they hold together") {
  oci::SeccompRule sockets = rule({"socket"}, "SCMP_ACT_ERRNO");
  sockets.errno_ret = ENOSPC;
  sockets.args = {{0, AF_UNIX, 0, "SCMP_CMP_EQ"}, {0, AF_INET, 0, "SCMP_CMP_EQ"}};
  const auto open_socket = [](int family, int type) {
    return [=] { return long{::socket(family, type, 0)}; };
  };
  const auto one = profile("SCMP_ACT_ALLOW", {sockets});
  CHECK(errno_below(one, open_socket(AF_UNIX, SOCK_STREAM)) == ENOSPC);
  CHECK(errno_below(one, open_socket(AF_INET, SOCK_STREAM)) == ENOSPC);
  CHECK(errno_below(one, open_socket(AF_NETLINK, SOCK_RAW)) == 0);
  sockets.args = {{0, AF_UNIX, 0, "SCMP_CMP_EQ"},
                  {1, SOCK_DGRAM, SOCK_DGRAM, "SCMP_CMP_MASKED_EQ"}};
  const auto both = profile("SCMP_ACT_ALLOW", {sockets});
  CHECK(errno_below(both, open_socket(AF_UNIX, SOCK_STREAM)) == 0);
  CHECK(errno_below(both, open_socket(AF_INET, SOCK_DGRAM)) == 0);
  CHECK(errno_below(both, open_socket(AF_UNIX, SOCK_DGRAM)) == ENOSPC);
}

TEST_CASE(
    "a call that is newer than all that a refusing filter names is unknown, as in an old kernel") {
  const auto newest = [] { return ::syscall(SYS_faccessat2, -1, "", 0, 0); };
  const auto newer = [] { return ::syscall(SYS_faccessat2 + 1, 0, 0, 0, 0); };
  // AddressSanitizer's sigaltstack comes before every _exit().
  const auto named = rule({"exit_group", "faccessat2", "sigaltstack"}, "SCMP_ACT_ALLOW");
  const auto refusing = profile("SCMP_ACT_ERRNO", {named});
  CHECK(errno_below(refusing, make_directory) == EPERM);
  CHECK(errno_below(refusing, newest) == ENOENT);
  CHECK(errno_below(refusing, newer) == ENOSYS);
  CHECK(errno_below(profile("SCMP_ACT_KILL_PROCESS", {named}), newer) == ENOSYS);
  CHECK(errno_below(profile("SCMP_ACT_KILL_PROCESS", {named}), make_directory) == 1000 + SIGSYS);
}

TEST_CASE("names that this system does not know are left out") {
  auto seccomp = profile("SCMP_ACT_ALLOW", {rule({"nonsense", "mkdir"}, "SCMP_ACT_ERRNO")});
  seccomp.architectures = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
  seccomp.flags = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                   "SECCOMP_FILTER_FLAG_SPEC_ALLOW"};
  CHECK(errno_below(seccomp, make_directory) == EPERM);
}

TEST_CASE("what cannot be done is refused") {
  const auto notify =
      compile_filter(profile("SCMP_ACT_ALLOW", {rule({"mkdir"}, "SCMP_ACT_NOTIFY")}));
  CHECK(notify.error().code() == Code::kUnimplemented);
  CHECK(notify.error().message().find("listenerPath") != std::string::npos);
  auto foreign = profile("SCMP_ACT_ALLOW", {});
  foreign.architectures = {"SCMP_ARCH_SHEB_NONE"};
  CHECK(compile_filter(foreign).error().code() == Code::kInvalidArgument);
  CHECK(install_filter("abc").error().code() == Code::kInternal);
}

}  // namespace
}  // namespace kata::isolation
