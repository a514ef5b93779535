#include "agent/isolation/test_container.h"

#include <array>
#include <fstream>
#include <stdexcept>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/isolation/container.h"
#include "agent/isolation/namespaces.h"
#include "agent/isolation/prepared_mounts.h"
#include "agent/isolation/seccomp.h"
#include "common/base/unique_fd.h"
#include "common/oci/parse.h"

namespace kata::isolation::testing {

namespace fs = std::filesystem;

namespace {

constexpr const char* kBusybox = "/bin/busybox";
constexpr const char* kRuncRootfs = "rootfs.runc";
constexpr const char* kRunc = "/usr/sbin/runc";
constexpr int kRunTimeoutMs = 60'000;
constexpr int kSetUpFailed = 121;

constexpr const char* kSpec = R"({
  "ociVersion": "1.0.2",
  "process": {
    "user": {"uid": 0, "gid": 0},
    "args": ["true"],
    "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
    "cwd": "/",
    "capabilities": {
      "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    },
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
    "noNewPrivileges": true
  },
  "root": {"path": "rootfs", "readonly": false},
  "hostname": "tester",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
     "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs",
     "options": ["nosuid", "noexec", "nodev", "ro"]}
  ],
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                   {"type": "mount"}],
    "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                    "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
                    "/sys/firmware", "/proc/scsi"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
})";

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Pipe make_pipe() {
  std::array<int, 2> ends;
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) throw std::runtime_error("pipe2");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

void append_from(int fd, std::string& out, bool& open) {
  std::array<char, 4096> chunk;
  ssize_t length = ::read(fd, chunk.data(), chunk.size());
  if (length > 0) out.append(chunk.data(), static_cast<size_t>(length));
  open = length > 0;
}

/// Both to their ends, or as far as the deadline allows.
void drain(int first, std::string& first_out, int second, std::string& second_out) {
  bool first_open = true;
  bool second_open = true;
  while (first_open || second_open) {
    std::array<pollfd, 2> wait = {pollfd{first_open ? first : -1, POLLIN, 0},
                                  pollfd{second_open ? second : -1, POLLIN, 0}};
    if (::poll(wait.data(), wait.size(), kRunTimeoutMs) <= 0) return;
    if (wait[0].revents != 0) append_from(first, first_out, first_open);
    if (wait[1].revents != 0) append_from(second, second_out, second_open);
  }
}

int wait_status(pid_t pid) {
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

[[noreturn]] void give_up(int errors, const Error& error) {
  auto text = fmt::format("{} {}", static_cast<int>(error.code()), error.message());
  [[maybe_unused]] auto written = ::write(errors, text.data(), text.size());
  ::_exit(kSetUpFailed);
}

/// As agent/container/init.cc, in a child of the test.
[[noreturn]] void be_container(const std::string& json, const std::string& rootfs, int errors,
                               const std::function<void()>& as_guest) {
  auto spec = oci::parse_spec(json);
  if (!spec) give_up(errors, spec.error());
  auto prepared = prepare_mounts(*spec, rootfs);
  if (!prepared) give_up(errors, prepared.error());
  auto plan = plan_namespaces(*spec);
  if (!plan) give_up(errors, plan.error());
  if (auto entered = enter_namespaces(*plan); !entered) give_up(errors, entered.error());
  // A pod has a network namespace of its own, and so a sysfs.
  ::unshare(CLONE_NEWNET);
  pid_t init = ::fork();
  if (init != 0) ::_exit(wait_status(init));
  if (as_guest) as_guest();
  if (auto ready = prepare_container(*spec, rootfs, {}, *std::move(prepared)); !ready)
    give_up(errors, ready.error());
  std::string filter;
  if (spec->linux.seccomp) {
    auto compiled = compile_filter(*spec->linux.seccomp);
    if (!compiled) give_up(errors, compiled.error());
    filter = *compiled;
  }
  auto target = become_process(spec->process, {filter, spec->linux.personality});
  if (!target) give_up(errors, target.error());
  give_up(errors, exec_process(*target));
}

}  // namespace

TestContainer::TestContainer() : spec(nlohmann::json::parse(kSpec)) {
  std::string pattern = "/tmp/kata-isolation-XXXXXX";
  if (!::mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp");
  bundle_ = pattern;
  // A user of the container must be able to pass.
  ::chmod(bundle_.c_str(), 0755);
  for (const char* dir : {"bin", "etc", "tmp", "proc", "sys", "dev"})
    fs::create_directories(rootfs() / dir);
  fs::copy_file(kBusybox, rootfs() / "bin/busybox");
  for (const char* applet :
       {"sh", "cat", "ls", "id", "true", "grep", "stat", "mount", "pwd", "hostname", "env", "touch",
        "mkdir", "sed", "readlink", "wc", "od", "head", "cut"})
    fs::create_symlink("busybox", rootfs() / "bin" / applet);
  std::ofstream(rootfs() / "etc/passwd")
      << "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n";
}

TestContainer::~TestContainer() {
  std::error_code ignored;
  fs::remove_all(bundle_, ignored);
}

TestContainer& TestContainer::script(const std::string& text) { return args({"sh", "-c", text}); }

TestContainer& TestContainer::args(std::vector<std::string> words) {
  spec["process"]["args"] = std::move(words);
  return *this;
}

Outcome TestContainer::run(const std::function<void()>& as_guest) {
  auto output = make_pipe();
  auto errors = make_pipe();
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto json = spec.dump();
  pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child == 0) {
    ::dup2(null.get(), STDIN_FILENO);
    ::dup2(output.write.get(), STDOUT_FILENO);
    ::dup2(output.write.get(), STDERR_FILENO);
    be_container(json, rootfs().string(), errors.write.get(), as_guest);
  }
  output.write.reset();
  errors.write.reset();
  Outcome outcome;
  std::string error;
  drain(output.read.get(), outcome.output, errors.read.get(), error);
  outcome.status = wait_status(child);
  if (!error.empty()) {
    auto space = error.find(' ');
    outcome.code = code_from_wire(std::stoi(error.substr(0, space)));
    outcome.error = error.substr(space + 1);
    outcome.status = -1;
  }
  return outcome;
}

void TestContainer::keep_copy_for_runc() {
  fs::copy(rootfs(), bundle_ / kRuncRootfs,
           fs::copy_options::recursive | fs::copy_options::copy_symlinks);
}

bool TestContainer::have_runc() { return ::access(kRunc, X_OK) == 0; }

Outcome TestContainer::run_with_runc() {
  Outcome outcome;
  if (!have_runc()) return outcome;
  auto runc_spec = spec;
  if (fs::exists(bundle_ / kRuncRootfs)) runc_spec["root"]["path"] = kRuncRootfs;
  std::ofstream(bundle_ / "config.json") << runc_spec.dump();
  auto output = make_pipe();
  auto unused = make_pipe();
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto id = bundle_.filename().string();
  auto bundle = bundle_.string();
  pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child == 0) {
    ::dup2(null.get(), STDIN_FILENO);
    ::dup2(output.write.get(), STDOUT_FILENO);
    ::dup2(output.write.get(), STDERR_FILENO);
    ::execl(kRunc, "runc", "run", "-b", bundle.c_str(), id.c_str(), nullptr);
    ::_exit(kSetUpFailed);
  }
  output.write.reset();
  unused.write.reset();
  std::string nothing;
  drain(output.read.get(), outcome.output, unused.read.get(), nothing);
  outcome.status = wait_status(child);
  return outcome;
}

}  // namespace kata::isolation::testing
