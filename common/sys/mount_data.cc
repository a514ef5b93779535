#include "common/sys/mount_data.h"

#include <array>

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/mount.h>
#include <unistd.h>

namespace kata::sys {

namespace {

constexpr std::string_view kLowerdir = "lowerdir=";

// mount(2) copies one page, the NUL included, and cuts the rest without a word.
size_t max_data_bytes() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)) - 1; }

/// overlayfs separates layers by ':' and escapes with a backslash.
std::vector<std::string> split_layers(std::string_view lower) {
  std::vector<std::string> layers(1);
  for (size_t i = 0; i < lower.size(); ++i) {
    if (lower[i] == ':') {
      layers.emplace_back();
    } else {
      if (lower[i] == '\\' && i + 1 < lower.size()) ++i;
      layers.back() += lower[i];
    }
  }
  return layers;
}

}  // namespace

Result<MountData> MountData::make(std::string_view type, std::span<const std::string> options) {
  MountData out;
  out.text_ = fmt::format("{}", fmt::join(options, ","));
  if (out.text_.size() <= max_data_bytes()) return out;
  if (type == "overlay") {
    std::vector<std::string> shortened(options.begin(), options.end());
    for (auto& option : shortened)
      if (option.starts_with(kLowerdir)) {
        KATA_TRY(option, out.shorten_lower(std::string_view(option).substr(kLowerdir.size())));
      }
    out.text_ = fmt::format("{}", fmt::join(shortened, ","));
  }
  if (out.text_.size() > max_data_bytes())
    return fail(Code::kInvalidArgument, "{} bytes of mount options{}, the kernel takes {}",
                out.text_.size(),
                out.lower_.empty() ? "" : fmt::format(" for {} layers", out.lower_.size()),
                max_data_bytes());
  return out;
}

Result<std::string> MountData::shorten_lower(std::string_view lower) {
  std::vector<std::string> names;
  for (const auto& layer : split_layers(lower)) {
    UniqueFd dir(::open(layer.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!dir) return fail_errno(fmt::format("lower directory {}", layer));
    names.push_back(fmt::format("/proc/self/fd/{}", dir.get()));
    lower_.push_back(std::move(dir));
  }
  return fmt::format("{}{}", kLowerdir, fmt::join(names, ":"));
}

unsigned long mount_flags(uint64_t attributes, std::span<const std::string> superblock) {
  constexpr auto kBits = std::to_array<std::pair<uint64_t, unsigned long>>({
      {MOUNT_ATTR_RDONLY, MS_RDONLY},
      {MOUNT_ATTR_NOSUID, MS_NOSUID},
      {MOUNT_ATTR_NODEV, MS_NODEV},
      {MOUNT_ATTR_NOEXEC, MS_NOEXEC},
      {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME},
      {MOUNT_ATTR_NOATIME, MS_NOATIME},
      {MOUNT_ATTR_STRICTATIME, MS_STRICTATIME},
      {MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW},
  });
  unsigned long flags = 0;
  for (const auto& [attribute, flag] : kBits)
    if ((attributes & attribute) != 0) flags |= flag;
  for (std::string_view word : superblock) {
    if (word == "sync") flags |= MS_SYNCHRONOUS;
    if (word == "dirsync") flags |= MS_DIRSYNC;
    if (word == "lazytime") flags |= MS_LAZYTIME;
    if (word == "mand") flags |= MS_MANDLOCK;
    if (word == "async") flags &= ~static_cast<unsigned long>(MS_SYNCHRONOUS);
    if (word == "nolazytime") flags &= ~static_cast<unsigned long>(MS_LAZYTIME);
    if (word == "nomand") flags &= ~static_cast<unsigned long>(MS_MANDLOCK);
  }
  return flags;
}

}  // namespace kata::sys
