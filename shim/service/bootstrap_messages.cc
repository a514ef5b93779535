#include "shim/service/bootstrap_messages.h"

#include "containerd/bootstrap.pb.h"

namespace kata::service {
namespace {

namespace api = containerd::runtime::bootstrap::v1;

/// Runtime options are an Any, whose two fields are read as the first two of the params.
bool are_params(const api::BootstrapParams& params) {
  return !params.containerd_version().empty() || !params.containerd_grpc_address().empty() ||
         !params.containerd_ttrpc_address().empty() || params.extensions_size() > 0;
}

Result<StartInput> input_of(const api::BootstrapParams& params) {
  StartInput input{.takes_result = true,
                   .debug = params.log_level() <= api::LOG_LEVEL_DEBUG,
                   .grpc_address = params.containerd_grpc_address(),
                   .ttrpc_address = params.containerd_ttrpc_address(),
                   .socket_directory = params.socket_dir(),
                   .options = {}};
  if (!input.socket_directory.empty() && !input.socket_directory.starts_with('/'))
    return fail(Code::kInvalidArgument, "containerd's socket_dir \"{}\" is not an absolute path",
                input.socket_directory);
  for (const auto& extension : params.extensions()) {
    // Others are of other things than the runtime.
    if (!are_our_options(extension.value().type_url())) continue;
    KATA_TRY(input.options, decode_runtime_options(extension.value().SerializeAsString()));
  }
  return input;
}

}  // namespace

Result<StartInput> decode_start_input(std::string_view bytes, std::string_view id,
                                      std::string_view nspace) {
  api::BootstrapParams params;
  if (params.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    if (params.instance_id() == id && params.namespace_() == nspace) return input_of(params);
    if (are_params(params))
      return fail(Code::kInvalidArgument,
                  "the bootstrap parameters on stdin are for \"{}\" of namespace \"{}\", the "
                  "command line is for \"{}\" of \"{}\"",
                  params.instance_id(), params.namespace_(), id, nspace);
  }
  StartInput input;
  KATA_TRY(input.options, decode_runtime_options(bytes));
  return input;
}

std::string encode_bootstrap_result(int version, std::string_view address) {
  api::BootstrapResult result;
  result.set_version(version);
  result.set_address(std::string(address));
  result.set_protocol("ttrpc");
  return result.SerializeAsString();
}

}  // namespace kata::service
