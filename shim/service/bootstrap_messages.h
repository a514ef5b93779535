// How containerd talks to `start`: protobuf both ways since 2.3 (api/runtime/bootstrap/v1), before
// that the runtime's options on stdin and an address on stdout.
#pragma once

#include <string>
#include <string_view>

#include "common/error/error.h"
#include "shim/service/shim_messages.h"

namespace kata::service {

/// What stdin said. Empty members were not said.
struct StartInput {
  /// containerd takes a BootstrapResult as the answer.
  bool takes_result = false;
  bool debug = false;
  std::string grpc_address;
  std::string ttrpc_address;
  /// Where the shim's socket belongs.
  std::string socket_directory;
  RuntimeOptions options;
};

/// BootstrapParams are what names this container: older options can be mistaken for them, and carry
/// neither name. Nothing at all is an older containerd without options.
/// InvalidArgument: bytes that are neither, params of another container, a socket directory that is
/// no absolute path, or options that decode_runtime_options() refuses.
Result<StartInput> decode_start_input(std::string_view bytes, std::string_view id,
                                      std::string_view nspace);

/// BootstrapResult over ttrpc.
std::string encode_bootstrap_result(int version, std::string_view address);

}  // namespace kata::service
