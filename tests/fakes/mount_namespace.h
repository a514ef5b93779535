// Mounts of a test that nobody else sees.
#pragma once

#include <array>
#include <functional>
#include <string>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/unique_fd.h"

namespace kata::fakes {

/// Runs the steps in a mount namespace that ends with them; what they return is the result.
inline std::string in_own_mount_namespace(const std::function<std::string()>& steps) {
  std::array<int, 2> ends;
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  UniqueFd read(ends[0]);
  UniqueFd write(ends[1]);
  pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) < 0 || ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0)
      ::_exit(1);
    auto text = steps();
    [[maybe_unused]] auto written = ::write(write.get(), text.data(), text.size());
    ::_exit(0);
  }
  write.reset();
  std::string out;
  std::array<char, 4096> chunk;
  for (ssize_t n; (n = ::read(read.get(), chunk.data(), chunk.size())) > 0;)
    out.append(chunk.data(), static_cast<size_t>(n));
  ::waitpid(child, nullptr, 0);
  return out;
}

}  // namespace kata::fakes
