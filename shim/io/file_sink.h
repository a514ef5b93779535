// Output that is appended to a file: file:// URIs.
#pragma once

#include <memory>
#include <string>

#include "shim/io/sink.h"

namespace kata::io {

/// Opens as containerd's runc shim does: appends; a file that is not there is made with mode 0644,
/// its directories with 0755. A fifo is served as one that is named by its path.
///
/// Regular files take every write at once: a slow disk holds up all streams of the shim.
Result<std::unique_ptr<Sink>> open_file_sink(const std::string& path);

}  // namespace kata::io
