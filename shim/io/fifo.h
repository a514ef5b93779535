// A client's fifos, opened as containerd's runc shim does it, but without waiting for the client.
#pragma once

#include <memory>
#include <string>

#include "common/base/unique_fd.h"
#include "common/error/error.h"
#include "shim/io/sink.h"

namespace kata::io {

/// A handle (O_PATH) on the fifo itself, so that every open through it means the same file.
/// NotFound: no such file. InvalidArgument: not a fifo.
Result<UniqueFd> find_fifo(const std::string& path);

/// Opens a found fifo without blocking: `access` is O_RDONLY or O_WRONLY.
Result<UniqueFd> open_fifo(const UniqueFd& handle, int access);

/// The shim's end of a stdout or stderr fifo. A reader of our own keeps a client's going away from
/// being an error, and what it has not read for the next client.
///
/// finish() returns when a client has read everything; at once when all clients have gone; and when
/// no client has come yet, it waits for the first.
std::unique_ptr<Sink> make_fifo_sink(UniqueFd handle);

}  // namespace kata::io
