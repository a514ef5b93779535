#include "runtime/hypervisor/libvirt_loader.h"

#include <cstdlib>
#include <filesystem>
#include <vector>

#include <dlfcn.h>
#include <fmt/ranges.h>

#include "runtime/hypervisor/libvirt/driver.h"
#include "runtime/hypervisor/libvirt/launcher.h"

namespace kata::hypervisor {
namespace {

constexpr const char* kModuleFile = "libkata-libvirt.so";

std::vector<std::string> candidates() {
  std::vector<std::string> paths;
  if (const char* directory = std::getenv("KATA_MODULE_DIR");
      directory != nullptr && *directory != '\0')
    paths.push_back(std::filesystem::path(directory) / kModuleFile);
  std::error_code error;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto prefix = executable.parent_path().parent_path();
  for (const char* libdir : {"lib", "lib/x86_64-linux-gnu", "lib64"})
    paths.push_back(prefix / libdir / "kata-containers" / kModuleFile);
  return paths;
}

Result<OpenLibvirt> load_module() {
  const std::vector<std::string> paths = candidates();
  for (const std::string& path : paths) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) continue;
    // libvirt would print a warning for each domain (that it runs as root, with our arguments).
    ::setenv("LIBVIRT_DEBUG", "error", /*overwrite=*/0);
    // Never closed: libvirt keeps threads and thread-local data of its own.
    void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr)
      return fail(Code::kFailedPrecondition,
                  "the libvirt launcher does not load: {}: install libvirt0 and "
                  "libvirt-daemon-driver-qemu, or set launcher = \"direct\"",
                  ::dlerror());
    void* symbol = ::dlsym(module, kOpenLibvirtSymbol);
    if (symbol == nullptr)
      return fail(Code::kFailedPrecondition, "{} is no module of this runtime: {}", path,
                  ::dlerror());
    return reinterpret_cast<OpenLibvirt>(symbol);
  }
  return fail(
      Code::kNotFound,
      "the libvirt launcher is not installed (looked for {}): install it, or set launcher = "
      "\"direct\"",
      fmt::join(paths, ", "));
}

Result<LibvirtOpener> load_opener() {
  KATA_TRY(const OpenLibvirt open_module, load_module());
  return [open_module](const std::string& uri) -> Result<std::unique_ptr<LibvirtDriver>> {
    std::unique_ptr<Error> error;
    std::unique_ptr<LibvirtDriver> driver(open_module(kLibvirtModuleVersion, uri.c_str(), &error));
    if (!driver) return std::unexpected(*error);
    return driver;
  };
}

}  // namespace

Result<std::unique_ptr<Launcher>> load_libvirt_launcher(asio::any_io_executor executor,
                                                        const std::string& uri) {
  KATA_TRY(LibvirtOpener open, load_opener());
  return make_libvirt_launcher(std::move(executor), std::move(open), uri);
}

Status check_libvirt(const std::string& uri) {
  KATA_TRY(const LibvirtOpener open, load_opener());
  return try_libvirt(open, uri);
}

}  // namespace kata::hypervisor
