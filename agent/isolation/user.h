// The identity of a process.
#pragma once

#include <string>

#include "common/error/error.h"
#include "common/oci/spec.h"

namespace kata::isolation {

/// setgroups, setresgid, setresuid. Capabilities survive only with SECBIT_KEEP_CAPS set before.
Status become_user(const oci::User& user);

/// The home directory that `passwd_path` gives to the uid; "/" where it names none, or is no
/// readable regular file.
std::string home_of(uid_t uid, const std::string& passwd_path = "/etc/passwd");

}  // namespace kata::isolation
