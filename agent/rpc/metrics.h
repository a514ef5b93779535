// A container's metrics as containerd's clients know them, from the files of its control group.
#pragma once

#include <functional>
#include <string>

#include "common/error/error.h"
#include "containerd/cgroup_metrics.pb.h"

namespace kata::rpc {

/// The content of a file of the control group; an error where there is none.
using ReadStatFile = std::function<Result<std::string>(const char* name)>;

/// Files that do not exist (their controllers are off) are left out, lines and numbers that make no
/// sense are passed over. "max" is the highest number, as in github.com/containerd/cgroups.
io::containerd::cgroups::v2::Metrics read_metrics(const ReadStatFile& read);

}  // namespace kata::rpc
