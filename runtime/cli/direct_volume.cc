#include "runtime/cli/direct_volume.h"

#include <cstdlib>
#include <iostream>

#include "runtime/storage/direct_volumes.h"

namespace kata::cli {
namespace {

int report(const Status& status) {
  if (status) return EXIT_SUCCESS;
  std::cerr << "kata-runtime direct-volume: " << status.error().message() << "\n";
  return EXIT_FAILURE;
}

}  // namespace

int run_direct_volume_add(const std::string& volume_path, const std::string& mount_info) {
  return report(storage::add_direct_volume(volume_path, mount_info));
}

int run_direct_volume_remove(const std::string& volume_path) {
  return report(storage::remove_direct_volume(volume_path));
}

}  // namespace kata::cli
