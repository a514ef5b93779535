#include "agent/testing/guest.h"

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "common/sys/unix_socket.h"

namespace kata::testing {
namespace {

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  return *std::move(result);
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = std::filesystem::temp_directory_path() / "kata-agent-test.XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

CgroupRoot::CgroupRoot() {
  for (std::filesystem::path hierarchy : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    if (!std::filesystem::exists(hierarchy / "cgroup.procs")) continue;
    path_ = hierarchy / ("kata-agent-test-" + std::to_string(getpid()));
    std::filesystem::create_directory(path_);
    return;
  }
  throw std::runtime_error("this machine has no cgroup v2 hierarchy");
}

CgroupRoot::~CgroupRoot() {
  rmdir((path_ / "kata").c_str());
  rmdir(path_.c_str());
}

Guest::Guest() {
  auto blocked = sandbox::Reaper::block_signals();
  if (!blocked) throw std::runtime_error(blocked.error().message());
  loop_ = must(sandbox::EventLoop::start());
  reaper_ = must(sandbox::Reaper::start(*loop_));
  listeners_ = sandbox::make_unix_listeners(directory_.path());
}

container::Environment Guest::environment() {
  const char* agent = std::getenv("KATA_AGENT");
  if (agent == nullptr) throw std::runtime_error("KATA_AGENT must name the built kata-agent");
  executable_ = UniqueFd(open(agent, O_PATH | O_CLOEXEC));
  if (!executable_) throw std::runtime_error(std::string("cannot open ") + agent);
  return {*loop_, *reaper_, *listeners_, executable_.get(), cgroup_root_.path()};
}

std::string Guest::make_rootfs() {
  namespace fs = std::filesystem;
  fs::path root = directory_.path() / "rootfs";
  for (const char* directory : {"bin", "dev", "etc", "proc", "sys", "tmp"}) {
    fs::create_directories(root / directory);
  }
  fs::copy_file("/bin/busybox", root / "bin/busybox");
  for (const char* applet : {"sh", "cat", "true", "sleep", "stat", "id", "dd", "yes", "readlink",
                             "grep", "stty", "tty", "mkdir", "mount", "rm"}) {
    fs::create_hard_link(root / "bin/busybox", root / "bin" / applet);
  }
  return root;
}

UniqueFd Guest::connect(uint32_t port) {
  return must(sys::connect_unix(directory_.path() / std::to_string(port)));
}

std::string make_spec(const std::vector<std::string>& args) {
  using nlohmann::json;
  json namespaces = json::array();
  for (const char* type : {"pid", "mount", "ipc", "uts", "cgroup"}) {
    namespaces.push_back(json{{"type", type}});
  }
  json mounts = json::array();
  mounts.push_back(json{{"destination", "/proc"}, {"type", "proc"}, {"source", "proc"}});
  mounts.push_back(json{{"destination", "/dev"},
                        {"type", "tmpfs"},
                        {"source", "tmpfs"},
                        {"options", {"nosuid", "mode=755"}}});
  json spec;
  spec["ociVersion"] = "1.0.2";
  spec["process"]["args"] = args;
  spec["process"]["env"] = {"PATH=/bin"};
  spec["process"]["cwd"] = "/";
  spec["process"]["user"] = {{"uid", 0}, {"gid", 0}};
  spec["root"]["path"] = "rootfs";
  spec["hostname"] = "guest";
  spec["mounts"] = mounts;
  spec["linux"]["namespaces"] = namespaces;
  return spec.dump();
}

std::string read_all(int fd) {
  std::string all;
  char buffer[64 * 1024];
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) {
    all.append(buffer, static_cast<size_t>(got));
  }
  return all;
}

}  // namespace kata::testing
