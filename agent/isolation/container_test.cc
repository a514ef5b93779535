// The recipe as a whole, in real namespaces, beside runc where runc is installed.
#include "agent/isolation/container.h"

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>

#include <catch2/catch.hpp>
#include <fmt/ranges.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/isolation/rootfs.h"
#include "agent/isolation/test_container.h"

namespace kata::isolation {

namespace {

using testing::Outcome;
using testing::TestContainer;

/// Shows what a process can see of its own set-up, one fact per line, without times and numbers
/// that differ from run to run.
constexpr const char* kProbe = R"(
id; umask; pwd; hostname; env; ulimit -Ha | sed 's/  */ /g'; ulimit -Sa | sed 's/  */ /g'
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|SigBlk|SigIgn)' /proc/self/status
ls -l /dev /dev/pts | sed -E 's/ [A-Z][a-z]{2} +[0-9]+ [0-9:]+ / /'
ls -ld /dev /dev/shm /dev/mqueue /sys /tmp | sed -E 's/ [0-9]+ [A-Z][a-z]{2} +[0-9]+ [0-9:]+ / /'
cat /proc/self/oom_score_adj
head -c1 /proc/keys | wc -c; head -c1 /proc/timer_list | wc -c; ls /sys/firmware | wc -l
grep -o 'perm.* _ses' /proc/keys | head -n1
touch /proc/sys/x /sys/x 2>&1
echo pids: /proc/[0-9]*; ls /proc/self/fd | wc -l
sed -E 's/^[0-9]+ [0-9]+ [0-9:]+ [^ ]+ ([^ ]+) ([^ ]+) (.*)/\1 \2 \3/' /proc/self/mountinfo |
  grep -v /sys/fs/cgroup
)";

std::string last_of_runc_message(const std::string& output) {
  std::smatch found;
  auto pattern = std::regex("level=error msg=\"(.*)\"\n");
  if (!std::regex_search(output, found, pattern)) return output;
  auto text = std::regex_replace(found[1].str(), std::regex("\\\\\""), "\"");
  return std::regex_replace(
      text,
      std::regex("^runc run failed: (unable to start container process: )?(error during "
                 "container init: )?"),
      "");
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  std::ranges::sort(lines);
  return lines;
}

/// Lines of one that the other has not, for a message that a person can read.
std::string only_in(const std::string& one, const std::string& other) {
  auto ours = lines_of(one);
  auto theirs = lines_of(other);
  std::vector<std::string> rest;
  std::ranges::set_difference(ours, theirs, std::back_inserter(rest));
  return fmt::format("{}", fmt::join(rest, "\n"));
}

void same_as_runc(TestContainer& container) {
  container.keep_copy_for_runc();
  auto ours = container.run();
  REQUIRE(ours.error == "");
  if (!TestContainer::have_runc()) return;
  auto runcs = container.run_with_runc();
  // The kernel numbers peer groups as it likes.
  const std::regex peer_group("(shared|master):[0-9]+");
  ours.output = std::regex_replace(ours.output, peer_group, "$1:N");
  runcs.output = std::regex_replace(runcs.output, peer_group, "$1:N");
  CHECK(only_in(ours.output, runcs.output) == "");
  CHECK(only_in(runcs.output, ours.output) == "");
  CHECK((ours.output == runcs.output));
  CHECK(ours.status == runcs.status);
}

}  // namespace

TEST_CASE("the default container looks as with runc") {
  TestContainer container;
  container.script(kProbe);
  same_as_runc(container);
}

TEST_CASE("every knob of the process looks as with runc") {
  TestContainer container;
  auto& process = container.spec["process"];
  SECTION("user, groups, umask") {
    process["user"] = {{"uid", 1000}, {"gid", 1001}, {"umask", 027}, {"additionalGids", {5, 7}}};
  }
  SECTION("another user without an entry in passwd") {
    process["user"] = {{"uid", 4242}, {"gid", 4242}};
  }
  SECTION("capabilities that a user keeps") {
    process["user"] = {{"uid", 1000}, {"gid", 1000}};
    std::vector<std::string> sets = {"CAP_CHOWN", "CAP_KILL"};
    for (const char* set : {"bounding", "permitted", "effective", "inheritable", "ambient"})
      process["capabilities"][set] = sets;
  }
  SECTION("no capabilities at all") { process.erase("capabilities"); }
  SECTION("bounding alone") { process["capabilities"] = {{"bounding", {"CAP_CHOWN"}}}; }
  SECTION("without no_new_privs") { process["noNewPrivileges"] = false; }
  SECTION("rlimits") {
    process["rlimits"] = {{{"type", "RLIMIT_NOFILE"}, {"soft", 100}, {"hard", 200}},
                          {{"type", "RLIMIT_CORE"}, {"soft", 0}, {"hard", 0}},
                          {{"type", "RLIMIT_NPROC"}, {"soft", 5000}, {"hard", 6000}}};
  }
  SECTION("environment with a double and no HOME") {
    process["env"] = {"PATH=/bin", "A=1", "B=2", "A=3", "HOME="};
  }
  SECTION("oom_score_adj") { process["oomScoreAdj"] = 500; }
  SECTION("a cwd that is made") { process["cwd"] = "/made/for/this/../that"; }
  SECTION("a cwd that only root may enter") {
    std::filesystem::create_directory(container.rootfs() / "secret");
    std::filesystem::permissions(container.rootfs() / "secret", std::filesystem::perms(0700));
    process["user"] = {{"uid", 1000}, {"gid", 1000}};
    process["cwd"] = "/secret";
    container.script("pwd; id; ls . 2>&1");
    same_as_runc(container);
    return;
  }
  container.script(kProbe);
  same_as_runc(container);
}

TEST_CASE("a capability in lower case is unknown, as with runc") {
  TestContainer container;
  container.spec["process"]["capabilities"] = {{"bounding", {"CAP_KILL", "cap_chown"}}};
  container.script("grep CapBnd /proc/self/status");
  CHECK(container.run().output == "CapBnd:\t0000000000000020\n");
}

TEST_CASE("the system around the process looks as with runc") {
  TestContainer container;
  auto& spec = container.spec;
  SECTION("read-only root") { spec["root"]["readonly"] = true; }
  SECTION("hostname and sysctls") {
    spec["hostname"] = "other";
    spec["linux"]["sysctl"] = {{"kernel.shmmax", "123456"}, {"kernel/msgmax", "4321"}};
    container.script(std::string("cat /proc/sys/kernel/shmmax /proc/sys/kernel/msgmax\n") + kProbe);
    same_as_runc(container);
    return;
  }
  SECTION("mounts of all kinds") {
    auto shared = container.bundle() / "shared";
    std::filesystem::create_directory(shared);
    std::ofstream(shared / "file") << "content\n";
    auto add = [&](nlohmann::json mount) { spec["mounts"].push_back(std::move(mount)); };
    add({{"destination", "/bound"},
         {"type", "bind"},
         {"source", shared},
         {"options", {"rbind", "ro", "nosuid", "noatime"}}});
    add({{"destination", "/etc/hosts"},
         {"type", "bind"},
         {"source", shared / "file"},
         {"options", {"rbind", "rprivate", "rw"}}});
    add({{"destination", "/tmp"}, {"type", "tmpfs"}, {"source", "scratch"}, {"options", {"ro"}}});
    add({{"destination", "/run/deep/down"},
         {"type", "tmpfs"},
         {"source", "tmpfs"},
         {"options", {"nosuid", "noexec", "nodev", "size=1m", "mode=1770", "relatime"}}});
    add({{"destination", "/shared"},
         {"type", "bind"},
         {"source", shared},
         {"options", {"bind", "rshared"}}});
  }
  SECTION("devices") {
    spec["linux"]["devices"] = {
        {{"path", "/dev/fuse"}, {"type", "c"}, {"major", 10}, {"minor", 229}, {"fileMode", 0600}},
        {{"path", "/dev/sub/pipe"}, {"type", "p"}, {"uid", 7}, {"gid", 8}, {"fileMode", 0640}},
        {{"path", "/dev/zero"}, {"type", "c"}, {"major", 1}, {"minor", 5}, {"fileMode", 0600}},
        {{"path", "/dev/blk"}, {"type", "b"}, {"major", 7}, {"minor", 99}}};
    container.script(std::string("ls -l /dev/sub | sed -E 's/ [A-Z][a-z]{2}.*:.. / /'\n") + kProbe);
    same_as_runc(container);
    return;
  }
  SECTION("no masked paths") {
    spec["linux"].erase("maskedPaths");
    spec["linux"].erase("readonlyPaths");
  }
  SECTION("a /dev that was in the image") {
    spec["mounts"].erase(1);
    std::ofstream(container.rootfs() / "dev/ptmx") << "left over";
  }
  container.script(kProbe);
  same_as_runc(container);
}

TEST_CASE("start-up errors are those of runc") {
  TestContainer container;
  std::ofstream(container.rootfs() / "etc/plain") << "text";
  auto expect = [&](const std::string& message, Code code) {
    auto ours = container.run();
    CHECK(ours.error == message);
    CHECK(ours.code == code);
    if (TestContainer::have_runc())
      CHECK(last_of_runc_message(container.run_with_runc().output) == message);
  };
  auto& process = container.spec["process"];
  SECTION("not in PATH") {
    container.args({"nosuch"});
    expect("exec: \"nosuch\": executable file not found in $PATH", Code::kNotFound);
  }
  SECTION("empty") {
    container.args({""});
    expect("exec: \"\": executable file not found in $PATH", Code::kNotFound);
  }
  SECTION("no such path") {
    container.args({"/nosuch"});
    expect("exec: \"/nosuch\": stat /nosuch: no such file or directory", Code::kNotFound);
  }
  SECTION("below a file") {
    container.args({"/etc/plain/x"});
    expect("exec: \"/etc/plain/x\": stat /etc/plain/x: not a directory", Code::kInvalidArgument);
  }
  SECTION("a directory") {
    container.args({"/etc"});
    expect("exec: \"/etc\": permission denied", Code::kPermissionDenied);
  }
  SECTION("not executable") {
    container.args({"etc/plain"});
    expect("exec: \"etc/plain\": permission denied", Code::kPermissionDenied);
  }
  SECTION("relative PATH") {
    process["env"] = {"PATH=bin"};
    container.args({"id"});
    expect("exec: \"id\": cannot run executable found relative to current directory",
           Code::kPermissionDenied);
  }
  SECTION("cwd is a file") {
    process["cwd"] = "/etc/plain";
    expect("mkdir /etc/plain: not a directory", Code::kInvalidArgument);
  }
  SECTION("sysctl of the host") {
    container.spec["linux"]["sysctl"] = {{"kernel.panic", "1"}};
    expect("sysctl \"kernel.panic\" is not in a separate kernel namespace", Code::kInvalidArgument);
  }
  SECTION("sysctl with a bad value") {
    container.spec["linux"]["sysctl"] = {{"kernel.shmmax", "abc"}};
    expect("write /proc/sys/kernel/shmmax: invalid argument", Code::kInvalidArgument);
  }
  SECTION("hostname without uts") {
    container.spec["linux"]["namespaces"] = {{{"type", "mount"}}, {{"type", "pid"}}};
    expect("unable to set hostname without a private UTS namespace", Code::kInvalidArgument);
  }
}

TEST_CASE("execve's own errors name the file") {
  TestContainer container;
  std::ofstream(container.rootfs() / "bin/garbage") << "garbage\n";
  std::filesystem::permissions(container.rootfs() / "bin/garbage", std::filesystem::perms(0755));
  container.args({"garbage"});
  CHECK(container.run().error == "exec /bin/garbage: exec format error");
}

TEST_CASE("the guest's root made pivotable") {
  TestContainer container;
  container.script("ls /; wc -l < /proc/self/mountinfo");
  auto before = container.run();
  // Stacked again: the real boot does it on the initramfs, which only a VM has.
  auto rootfs = container.rootfs();
  auto after = container.run([] {
    ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    // What is mounted below the root is not part of the clone, so put /proc there again.
    if (!make_root_pivotable() || ::mount("proc", "/proc", "proc", 0, nullptr) < 0) ::_exit(99);
  });
  CHECK(after.error == "");
  CHECK(after.output == before.output);
}

TEST_CASE("clocks of a time namespace") {
  TestContainer container;
  container.spec["linux"]["namespaces"].push_back({{"type", "time"}});
  container.spec["linux"]["timeOffsets"] = {{"boottime", {{"secs", 40'000'000}}}};
  container.script("cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets");
  auto outcome = container.run();
  CHECK(outcome.error == "");
  CHECK(std::atol(outcome.output.c_str()) > 40'000'000);
  container.spec["linux"]["timeOffsets"] = {{"boottime", {{"secs", -400'000'000'000}}}};
  outcome = container.run();
  CHECK(outcome.error.starts_with("linux.timeOffsets: "));
}

TEST_CASE("a container without a mount namespace is refused") {
  TestContainer container;
  container.spec["linux"]["namespaces"] = {{{"type", "uts"}}};
  auto outcome = container.run();
  CHECK(outcome.code == Code::kInvalidArgument);
  CHECK(outcome.error.find("mount namespace") != std::string::npos);
}

}  // namespace kata::isolation
