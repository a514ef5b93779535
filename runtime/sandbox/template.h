// Templates without a pod: for the host's command line.
#pragma once

#include "common/sys/async.h"
#include "runtime/config/config.h"

namespace kata::sandbox {

/// Makes the template of `config`, unless there is a valid one; also after an attempt that failed,
/// and whether or not pods are configured to use it. SIGINT and SIGTERM end it, with nothing left:
/// Cancelled. Used on one executor, on a thread that lives as long as the call.
Async<void> provide_template(asio::any_io_executor executor, config::Config config);

}  // namespace kata::sandbox
