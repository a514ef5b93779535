#include "shim/command/log_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/unique_fd.h"
#include "common/log/log.h"

namespace kata::command {
namespace {

UniqueFd open_log(const Bundle& bundle) {
  UniqueFd fd(open(bundle.log().c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  struct stat info {};
  if (!fd || fstat(fd.get(), &info) != 0 || !S_ISFIFO(info.st_mode)) return {};
  return fd;
}

}  // namespace

void log_to_bundle(const Bundle& bundle) {
  UniqueFd fd = open_log(bundle);
  if (fd) log::set_output(fd.release());  // open for the life of the process, as the log needs it
}

void log_and_stderr_to_bundle(const Bundle& bundle) {
  UniqueFd fd = open_log(bundle);
  if (!fd) return;
  if (dup2(fd.get(), STDERR_FILENO) >= 0) log::set_output(STDERR_FILENO);
}

}  // namespace kata::command
