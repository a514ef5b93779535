#include <algorithm>
#include <array>

#include <sys/mount.h>

#include "common/sys/mount.h"

namespace kata::sys {

namespace {

struct AttributeWord {
  std::string_view word;
  uint64_t attribute;
  bool clears = false;
};

// The access time settings are one field of several bits, where relatime is 0.
constexpr auto kAttributes = std::to_array<AttributeWord>({
    {"ro", MOUNT_ATTR_RDONLY},
    {"rw", MOUNT_ATTR_RDONLY, true},
    {"nosuid", MOUNT_ATTR_NOSUID},
    {"suid", MOUNT_ATTR_NOSUID, true},
    {"nodev", MOUNT_ATTR_NODEV},
    {"dev", MOUNT_ATTR_NODEV, true},
    {"noexec", MOUNT_ATTR_NOEXEC},
    {"exec", MOUNT_ATTR_NOEXEC, true},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW},
    {"symfollow", MOUNT_ATTR_NOSYMFOLLOW, true},
    {"nodiratime", MOUNT_ATTR_NODIRATIME},
    {"diratime", MOUNT_ATTR_NODIRATIME, true},
});
constexpr auto kAccessTimes = std::to_array<AttributeWord>({
    {"noatime", MOUNT_ATTR_NOATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME},
    {"relatime", MOUNT_ATTR_RELATIME},
    {"atime", MOUNT_ATTR_RELATIME},
    {"norelatime", MOUNT_ATTR_RELATIME},
    {"nostrictatime", MOUNT_ATTR_RELATIME},
});

constexpr auto kPropagations = std::to_array<std::pair<std::string_view, uint64_t>>({
    {"shared", MS_SHARED},
    {"slave", MS_SLAVE},
    {"private", MS_PRIVATE},
    {"unbindable", MS_UNBINDABLE},
});

// As the kernel's fs_context knows them.
constexpr std::array<std::string_view, 7> kSuperblock = {
    "sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"};
constexpr std::array<std::string_view, 7> kWithoutEffect = {
    "defaults", "silent", "loud", "acl", "noacl", "iversion", "noiversion"};

bool contains(const auto& words, std::string_view word) {
  return std::ranges::find(words, word) != std::end(words);
}

/// "ro", "noatime"…: true if the word is one of them.
bool apply_attribute(std::string_view word, uint64_t& set, uint64_t& clear) {
  for (const auto& known : kAttributes)
    if (known.word == word) {
      set = known.clears ? set & ~known.attribute : set | known.attribute;
      clear = known.clears ? clear | known.attribute : clear & ~known.attribute;
      return true;
    }
  for (const auto& known : kAccessTimes)
    if (known.word == word) {
      set = (set & ~uint64_t{MOUNT_ATTR__ATIME}) | known.attribute;
      clear |= MOUNT_ATTR__ATIME;
      return true;
    }
  return false;
}

}  // namespace

Result<MountOptions::Propagation> parse_propagation(std::string_view word) {
  for (bool recursive : {false, true}) {
    std::string_view plain = word;
    if (recursive && plain.starts_with('r')) plain.remove_prefix(1);
    for (const auto& [known, type] : kPropagations)
      if (known == plain) return MountOptions::Propagation{type, recursive};
  }
  return fail(Code::kInvalidArgument, "unknown mount propagation \"{}\"", word);
}

MountOptions parse_mount_options(std::span<const std::string> options) {
  MountOptions out;
  for (std::string_view word : options) {
    if (word.empty() || contains(kWithoutEffect, word)) continue;
    if (word == "bind" || word == "rbind") {
      out.bind = true;
      out.bind_recursive = word == "rbind";
    } else if (apply_attribute(word, out.attr_set, out.attr_clear)) {
    } else if (word.starts_with('r') &&
               apply_attribute(word.substr(1), out.recursive_attr_set, out.recursive_attr_clear)) {
    } else if (auto propagation = parse_propagation(word)) {
      out.propagation.push_back(*propagation);
    } else if (contains(kSuperblock, word)) {
      out.superblock.emplace_back(word);
    } else if (word == "tmpcopyup") {
      out.copy_up = true;
    } else if (word == "idmap" || word == "ridmap") {
      out.id_mapped = true;
      out.id_mapped_tree = word == "ridmap";
    } else if (word == "remount") {
      out.unsupported = word;
    } else {
      out.data.emplace_back(word);
    }
  }
  return out;
}

}  // namespace kata::sys
