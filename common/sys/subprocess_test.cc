#include "common/sys/subprocess.h"

#include <array>
#include <csignal>
#include <thread>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

namespace kata::sys {
namespace {

SubprocessOptions shell(const std::string& script) {
  SubprocessOptions options;
  options.executable = "/bin/sh";
  options.arguments = {"-c", script};
  return options;
}

struct Outcome {
  ExitStatus status;
  std::string output;
};

asio::awaitable<void> wait_into(Subprocess& child, Outcome& outcome) {
  const auto status = co_await child.wait();
  REQUIRE(status.has_value());
  outcome.status = *status;
  outcome.output = child.output();
}

Outcome run(const SubprocessOptions& options) {
  asio::io_context io;
  auto child = Subprocess::spawn(io.get_executor(), options);
  REQUIRE(child.has_value());
  Outcome outcome;
  asio::co_spawn(io, wait_into(**child, outcome), asio::detached);
  io.run();
  CHECK((*child)->has_ended());
  CHECK((*child)->kill(SIGKILL).has_value());
  return outcome;
}

TEST_CASE("exit codes and signals are told apart", "[process]") {
  CHECK(run(shell("exit 0")).status.success());
  CHECK(run(shell("exit 42")).status.code == 42);
  CHECK(describe(run(shell("exit 1")).status) == "exited with status 1");
  const Outcome killed = run(shell("kill -TERM $$"));
  CHECK(killed.status.signal == SIGTERM);
  CHECK(describe(killed.status) == "killed by signal 15 (Terminated)");
}

TEST_CASE("the end of stdout and stderr is kept, bounded and printable", "[process]") {
  CHECK(run(shell("echo out; echo err >&2")).output == "out\nerr");
  CHECK(run(shell("printf 'a\\033[1mb\\n\\n'")).output == "a?[1mb");
  SubprocessOptions flood = shell("i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done");
  flood.output_kept_bytes = 100;
  const std::string output = run(flood).output;
  CHECK(output.size() <= 100);
  CHECK(output.ends_with("19999"));
}

TEST_CASE("name, input and working directory are as asked for", "[process]") {
  SubprocessOptions options = shell("echo $0; pwd; cat; cat /dev/stdin");
  options.executable = "/bin/busybox";
  options.name = "sh";
  options.directory = "/usr";
  options.input = "state\n";
  CHECK(run(options).output == "sh\n/usr\nstate\nstate");
  options.arguments[1] = "echo x >&0";
  CHECK_FALSE(run(options).status.success());
  // More than a pipe would take, to a child that reads none of it.
  options.arguments[1] = "true";
  options.input = std::string(1 << 20, 'x');
  CHECK(run(options).status.success());
  options.directory = "/no/such/directory";
  asio::io_context io;
  auto child = Subprocess::spawn(io.get_executor(), options);
  REQUIRE_FALSE(child.has_value());
  CHECK(child.error().message().starts_with("entering the working directory of /bin/busybox"));
}

TEST_CASE("a whole process group is killed", "[process]") {
  asio::io_context io;
  auto child = Subprocess::spawn(io.get_executor(), shell("sleep 1000 & sleep 1000"));
  REQUIRE(child.has_value());
  const pid_t group = (*child)->pid();
  (*child)->kill_group(SIGKILL);
  Outcome outcome;
  asio::co_spawn(io, wait_into(**child, outcome), asio::detached);
  io.run();
  CHECK(outcome.status.signal == SIGKILL);
  // Dead or gone, the member that is not our child: it is not ours to reap.
  (*child)->kill_group(0);
  while (::kill(-group, 0) == 0) std::this_thread::yield();
  CHECK(errno == ESRCH);
}

TEST_CASE("a missing or unusable executable fails the spawn", "[process]") {
  asio::io_context io;
  SubprocessOptions options;
  options.executable = "/nonexistent/program";
  auto child = Subprocess::spawn(io.get_executor(), options);
  REQUIRE_FALSE(child.has_value());
  CHECK(child.error().code() == Code::kNotFound);
  options.executable = "/dev/null";
  child = Subprocess::spawn(io.get_executor(), options);
  REQUIRE_FALSE(child.has_value());
  CHECK(child.error().code() == Code::kPermissionDenied);
}

TEST_CASE("only the passed descriptors arrive, from 3 on, in their order", "[process]") {
  std::array<int, 2> first;
  std::array<int, 2> second;
  REQUIRE(::pipe2(first.data(), O_CLOEXEC) == 0);
  REQUIRE(::pipe(second.data()) == 0);  // not close-on-exec: must not leak either
  SubprocessOptions options = shell("echo one >&3; echo two >&4; ls /proc/self/fd | tr '\\n' ' '");
  options.passed_fds = {second[1], first[1]};
  const Outcome outcome = run(options);
  // ls itself has the directory open as the next free number.
  CHECK(outcome.output == "0 1 2 3 4 5");
  std::array<char, 16> buffer{};
  CHECK(::read(second[0], buffer.data(), buffer.size()) == 4);
  CHECK(std::string(buffer.data()) == "one\n");
  CHECK(::read(first[0], buffer.data(), buffer.size()) == 4);
  CHECK(std::string(buffer.data()) == "two\n");
  for (const int fd : {first[0], first[1], second[0], second[1]}) ::close(fd);
}

TEST_CASE("a child has default signals, its own session and only the given environment",
          "[process]") {
  ::signal(SIGPIPE, SIG_IGN);
  SubprocessOptions options = shell("grep -E 'SigIgn|SigBlk' /proc/self/status; env");
  options.environment = {"PATH=/usr/bin:/bin", "A=b"};
  const std::string output = run(options).output;
  ::signal(SIGPIPE, SIG_DFL);
  CHECK(output.find("SigBlk:?0000000000000000") != std::string::npos);
  CHECK(output.find("SigIgn:?0000000000000000") != std::string::npos);
  CHECK(output.find("A=b") != std::string::npos);
  CHECK(output.find("HOME=") == std::string::npos);
  CHECK(run(shell("test $(cut -d' ' -f6 /proc/$$/stat) = $$")).status.success());
}

TEST_CASE("a child starts in the network namespace that it is given", "[process]") {
  int other = -1;
  // A namespace is a thread's own.
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0)
      other = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  }).join();
  if (other < 0) {
    WARN("making a network namespace needs root");
    return;
  }
  std::array<char, 64> name{};
  REQUIRE(::readlink(("/proc/self/fd/" + std::to_string(other)).c_str(), name.data(),
                     name.size() - 1) > 0);
  SubprocessOptions options = shell("readlink /proc/self/ns/net");
  CHECK(run(options).output != name.data());
  options.network_namespace = other;
  CHECK(run(options).output == name.data());
  ::close(other);

  asio::io_context io;
  options.network_namespace = STDIN_FILENO;
  auto failed = Subprocess::spawn(io.get_executor(), options);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message().find("network namespace") != std::string::npos);
}

TEST_CASE("a destroyed Subprocess is killed and reaped", "[process]") {
  asio::io_context io;
  auto child = Subprocess::spawn(io.get_executor(), shell("exec sleep 1000"));
  REQUIRE(child.has_value());
  const ProcessIdentity identity = (*child)->identity();
  child->reset();
  io.run();
  CHECK(::kill(identity.pid, 0) != 0);
}

TEST_CASE("a child dies with the thread that spawned it", "[process]") {
  asio::io_context io;
  pid_t pid = -1;
  std::unique_ptr<Subprocess> child;
  std::thread spawner([&] {
    auto spawned = Subprocess::spawn(io.get_executor(), shell("exec sleep 1000"));
    if (spawned) child = *std::move(spawned);
  });
  spawner.join();
  REQUIRE(child != nullptr);
  pid = child->pid();
  Outcome outcome;
  asio::co_spawn(io, wait_into(*child, outcome), asio::detached);
  io.run();
  CHECK(outcome.status.signal == SIGKILL);
  CHECK(::kill(pid, 0) != 0);
}

TEST_CASE("a process is known by pid and start time", "[process]") {
  asio::io_context io;
  auto child = Subprocess::spawn(io.get_executor(), shell("exec sleep 1000"));
  REQUIRE(child.has_value());
  const ProcessIdentity identity = (*child)->identity();
  CHECK(process_start_time(identity.pid) == identity.start_time);
  const ProcessIdentity another{.pid = identity.pid, .start_time = identity.start_time - 1};
  CHECK(kill_process(another, SIGKILL).error().code() == Code::kNotFound);
  CHECK(end_process(another, std::chrono::seconds(1)).has_value());
  CHECK(::kill(identity.pid, 0) == 0);
  CHECK(end_process(identity, std::chrono::seconds(10)).has_value());
  io.run();
  CHECK(end_process(identity, std::chrono::seconds(1)).has_value());
  CHECK(open_process(ProcessIdentity{}).error().code() == Code::kNotFound);
}

}  // namespace
}  // namespace kata::sys
