#include "runtime/hypervisor/libvirt/embed_root.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/sys/file.h"

namespace kata::hypervisor {
namespace {

/// libvirt's longest socket is <root>/lib/qemu/domain-<id>-<20 characters of the
/// name>/monitor.sock, and sun_path holds 107 characters.
constexpr size_t kMaxRootBytes = 50;

/// As docs/adr/0001-vm-drivers.md explains, key by key.
constexpr std::string_view kQemuConf = R"(stdio_handler = "file"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
seccomp_sandbox = 1
user = "root"
group = "root"
)";

Status make_directory(const std::filesystem::path& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno(fmt::format("creating {}", path.native()));
  return {};
}

}  // namespace

Result<std::string> prepare_embed_root(const std::filesystem::path& root,
                                       const std::filesystem::path& shared_cache) {
  if (root.native().size() > kMaxRootBytes)
    return fail(Code::kOutOfRange,
                "'{}' has {} characters, an embedded libvirt can have {}: set a shorter state_root",
                root.native(), root.native().size(), kMaxRootBytes);
  std::error_code error;
  std::filesystem::create_directories(shared_cache, error);
  if (error) return fail_errno(fmt::format("creating {}", shared_cache.native()), error.value());
  KATA_CHECK(make_directory(root));
  KATA_CHECK(make_directory(root / "etc"));
  KATA_CHECK(sys::write_file_atomically(root / "etc/qemu.conf", kQemuConf, 0600));
  if (::symlink(shared_cache.c_str(), (root / "cache").c_str()) != 0 && errno != EEXIST)
    return fail_errno(fmt::format("linking {}", (root / "cache").native()));
  return fmt::format("qemu:///embed?root={}", root.native());
}

}  // namespace kata::hypervisor
