// Terminals of real containers and execs: needs root and cgroup v2.
#include <filesystem>
#include <string>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/testing/containers.h"

namespace kata::container {
namespace {

using nlohmann::json;
using testing::make_process;
using testing::must_create_exec;
using testing::wait_for_end;

constexpr StdioWanted kTerminal{.in = true, .out = true, .err = true};

struct Fixture : testing::Containers {
  /// With a devpts, as every real spec has one.
  CreateRequest request(const std::string& id, const std::vector<std::string>& args) const {
    auto made = Containers::request(id, args, kTerminal);
    change(made, [](json& spec) {
      spec["mounts"].push_back(
          {{"destination", "/dev/pts"},
           {"type", "devpts"},
           {"source", "devpts"},
           {"options", {"newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}}});
    });
    return made;
  }

  CreateRequest terminal_request(const std::string& id,
                                 const std::vector<std::string>& args) const {
    auto made = request(id, args);
    change(made, [](json& spec) { spec["process"]["terminal"] = true; });
    return made;
  }

  template <typename Change>
  static void change(CreateRequest& request, Change change) {
    json spec = json::parse(request.spec_json);
    change(spec);
    request.spec_json = spec.dump();
  }

  std::shared_ptr<Container> sleeper(const std::string& id) {
    auto container = must_create(request(id, {"sleep", "1000"}));
    REQUIRE(container->start());
    return container;
  }
};

/// The host's side of a terminal.
struct Session {
  Session(testing::Guest& guest, const StdioPorts& ports)
      : in(guest.connect(ports.in)), out(guest.connect(ports.out)) {
    CHECK(ports.err == 0);
  }

  void type(std::string_view text) {
    REQUIRE(write(in.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }

  /// Everything up to the text, at most for some seconds.
  std::string read_until(std::string_view text) {
    constexpr int kTimeoutMs = 20'000;
    while (seen.find(text) == std::string::npos) {
      pollfd ready{out.get(), POLLIN, 0};
      if (poll(&ready, 1, kTimeoutMs) != 1) FAIL("no " << text << " in: " << seen);
      char buffer[4096];
      ssize_t got = read(out.get(), buffer, sizeof buffer);
      if (got <= 0) FAIL("ended before " << text << ": " << seen);
      seen.append(buffer, static_cast<size_t>(got));
    }
    return std::exchange(seen, {});
  }

  UniqueFd in;
  UniqueFd out;
  std::string seen;
};

json terminal_process(const std::vector<std::string>& args) {
  json process = make_process(args);
  process["terminal"] = true;
  return process;
}

TEST_CASE("The init's terminal echoes, is /dev/console, and belongs to the user") {
  Fixture fixture;
  auto request = fixture.terminal_request(
      "agent-p-init", {"sh", "-c",
                       "tty; stty size; stat -c '%u %g %t:%T' /dev/console; stat -c %u /dev/pts/0; "
                       "echo ok > /dev/tty; read line; echo got $line; exit 7"});
  fixture.change(request, [](json& spec) {
    spec["process"]["consoleSize"] = {{"height", 33}, {"width", 111}};
    spec["process"]["user"] = {{"uid", 1234}, {"gid", 1234}};
  });
  auto container = fixture.must_create(request);
  Session session(fixture.guest, container->ports());
  REQUIRE(container->start());
  CHECK(session.read_until("ok\r\n") == "/dev/pts/0\r\n33 111\r\n1234 5 88:0\r\n1234\r\nok\r\n");
  session.type("hello\n");
  CHECK(session.read_until("got hello\r\n") == "hello\r\ngot hello\r\n");
  CHECK(testing::read_all(session.out.get()).empty());
  CHECK(wait_for_end(*container).status == 7);
  CHECK(container->remove());
}

TEST_CASE("The size of a terminal: from its creation on, and with a signal") {
  Fixture fixture;
  auto container = fixture.must_create(fixture.terminal_request(
      "agent-p-size",
      {"sh", "-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done"}));
  auto init = *container->process("");
  REQUIRE(init->resize(80, 24));
  Session session(fixture.guest, container->ports());
  REQUIRE(container->start());
  session.read_until("24 80\r\n");
  REQUIRE(init->resize(132, 43));
  session.read_until("43 132\r\n");
  CHECK(init->resize(65535, 65535));
  CHECK(init->resize(65536, 1).error().code() == Code::kInvalidArgument);
  REQUIRE(container->signal(SIGKILL, false));
  wait_for_end(*container);
  CHECK(init->resize(80, 24).error().code() == Code::kFailedPrecondition);

  auto plain = fixture.sleeper("agent-p-plain");
  CHECK((*plain->process(""))->resize(80, 24).error() ==
        Error(Code::kFailedPrecondition, "the process has no terminal"));
}

TEST_CASE("Ctrl-C ends what runs in an exec's terminal") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-p-ctrl");
  auto exec = must_create_exec(*container, "e", terminal_process({"sleep", "1000"}), kTerminal);
  Session session(fixture.guest, exec->ports());
  REQUIRE(container->start("e"));
  session.type("\x03");
  CHECK(wait_for_end(*exec).status == 128 + SIGINT);
  CHECK(testing::read_all(session.out.get()) == "^C");
  CHECK(container->remove_exec("e"));
}

TEST_CASE("A shell in an exec's terminal has job control, several have terminals of their own") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-p-shell");
  auto process = terminal_process({"sh", "-i"});
  process["env"] = {"PATH=/bin", "PS1=ready> "};
  auto exec = must_create_exec(*container, "e", process, kTerminal);
  Session session(fixture.guest, exec->ports());
  REQUIRE(container->start("e"));
  auto greeting = session.read_until("ready> ");
  CHECK(greeting.find("job control") == std::string::npos);
  // What is typed before the job has the terminal is the shell's.
  session.type("sh -c 'echo in\"\"side; exec sleep 1000'\n");
  session.read_until("inside\r\n");
  auto other = must_create_exec(*container, "f", terminal_process({"tty"}), kTerminal);
  Session second(fixture.guest, other->ports());
  REQUIRE(container->start("f"));
  CHECK(second.read_until("\n") == "/dev/pts/1\r\n");
  // Only the foreground job: the shell lives on.
  session.type("\x03");
  session.read_until("ready> ");
  session.type("sleep 1000 &\n");
  session.read_until("ready> ");
  session.type("jobs\n");
  session.read_until("Running");
  session.type("exit 5\n");
  CHECK(wait_for_end(*exec).status == 5);
}

TEST_CASE("The end of the host's input does not end a terminal; its deletion hangs it up") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-p-ends");
  auto exec = must_create_exec(
      *container, "e",
      terminal_process({"sh", "-c",
                        "trap '' HUP; sleep 1000 & echo one; while [ ! -e /tmp/go ]; do "
                        "sleep 0.1; done; echo two"}),
      kTerminal);
  Session session(fixture.guest, exec->ports());
  REQUIRE(container->start("e"));
  session.read_until("one\r\n");
  shutdown(session.in.get(), SHUT_WR);
  char byte = 0;
  CHECK(read(session.in.get(), &byte, 1) == 0);
  std::filesystem::create_directory(fixture.rootfs + "/tmp/go");
  session.read_until("two\r\n");
  CHECK(wait_for_end(*exec).status == 0);
  // As with runc: whoever holds it open can write to it.
  pollfd quiet{session.out.get(), POLLIN, 0};
  CHECK(poll(&quiet, 1, 100) == 0);
  CHECK(container->pids()->size() == 2);
  REQUIRE(container->remove_exec("e"));
  CHECK(testing::read_all(session.out.get()).empty());
}

TEST_CASE("Much output of a terminal arrives, and what nobody wants holds nobody up") {
  Fixture fixture;
  auto container = fixture.sleeper("agent-p-much");
  auto process = terminal_process({"sh", "-c",
                                   "stty -onlcr; yes | dd bs=1000 count=2000 "
                                   "iflag=fullblock 2>/dev/null"});
  constexpr size_t kBytes = 2'000'000;
  SECTION("wanted") {
    auto exec = must_create_exec(*container, "e", process, kTerminal);
    Session session(fixture.guest, exec->ports());
    REQUIRE(container->start("e"));
    CHECK(testing::read_all(session.out.get()).size() == kBytes);
    CHECK(wait_for_end(*exec).status == 0);
  }
  SECTION("not wanted") {
    auto exec = must_create_exec(*container, "e", process);
    CHECK(exec->ports().in == 0);
    CHECK(exec->ports().out == 0);
    REQUIRE(container->start("e"));
    CHECK(wait_for_end(*exec).status == 0);
  }
}

TEST_CASE("A container that has changed its /dev/pts gets no terminal from elsewhere") {
  Fixture fixture;
  auto request = fixture.request("agent-p-hostile", {"sh", "-c", ""});
  std::string script, message;
  SECTION("no devpts") {
    script = "mount -t tmpfs none /dev/pts";
    message = "/dev/pts of the container is not a devpts";
  }
  SECTION("a link to it") {
    script =
        "mount -t tmpfs none /dev; mkdir /dev/x; mount -t devpts -o newinstance,ptmxmode=666 "
        "none /dev/x; mount --bind /proc/self/fd /dev/x/ptmx; : > /dev/pts";
    message = "open /dev/pts: Not a directory";
  }
  SECTION("something mounted on its ptmx") {
    script = "mount --bind /dev/null /dev/pts/ptmx";
    message = "open /dev/pts/ptmx: invalid cross-device link";
  }
  fixture.change(request, [&](json& spec) {
    spec["process"]["args"] = {"sh", "-c", script + "; echo done; exec sleep 1000"};
    json all = {"CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_DAC_OVERRIDE"};
    spec["process"]["capabilities"] = {{"bounding", all}, {"permitted", all}, {"effective", all}};
  });
  auto container = fixture.must_create(request);
  UniqueFd out = fixture.guest.connect(container->ports().out);
  REQUIRE(container->start());
  char text[6] = {};
  REQUIRE(read(out.get(), text, 5) == 5);
  auto exec = container->create_exec({"e", terminal_process({"true"}).dump(), kTerminal});
  REQUIRE_FALSE(exec);
  CHECK(exec.error().message() == "unable to start container process: " + message);
}

TEST_CASE("A container without a devpts has no terminal; a link as /dev/console is not followed") {
  Fixture fixture;
  auto request = fixture.terminal_request("agent-p-none", {"true"});
  SECTION("no devpts") {
    fixture.change(request, [](json& spec) { spec["mounts"].erase(2); });
    auto created = fixture.create(request);
    REQUIRE_FALSE(created);
    CHECK(created.error().code() == Code::kNotFound);
  }
  SECTION("a link") {
    // The image's own /dev.
    fixture.change(request, [](json& spec) { spec["mounts"].erase(1); });
    std::filesystem::create_symlink("/etc/target", fixture.rootfs + "/dev/console");
    auto created = fixture.create(request);
    REQUIRE_FALSE(created);
    CHECK(created.error().message() ==
          "unable to start container process: open /dev/console: too many levels of symbolic "
          "links");
    CHECK_FALSE(std::filesystem::exists(fixture.rootfs + "/etc/target"));
  }
  CHECK_FALSE(fixture.has_cgroup("agent-p-none"));
}

}  // namespace
}  // namespace kata::container
