#include "shim/service/shim_messages.h"

#include <catch2/catch.hpp>
#include <google/protobuf/any.pb.h>

#include "containerd/runtime_options.pb.h"
#include "containerd/task.pb.h"

namespace kata::service {
namespace {

std::string wrapped(const std::string& type_url, const std::string& value) {
  google::protobuf::Any any;
  any.set_type_url(type_url);
  any.set_value(value);
  return any.SerializeAsString();
}

TEST_CASE("a delete response") {
  std::chrono::system_clock::time_point at{std::chrono::milliseconds(1'500)};
  containerd::task::v2::DeleteResponse response;
  REQUIRE(response.ParseFromString(encode_delete_response(7, 137, at)));
  CHECK(response.pid() == 7);
  CHECK(response.exit_status() == 137);
  CHECK(response.exited_at().seconds() == 1);
  CHECK(response.exited_at().nanos() == 500'000'000);
}

constexpr const char* kType = "runtimeoptions.v1.Options";

std::string with_path(const std::string& path) {
  runtimeoptions::v1::Options options;
  options.set_config_path(path);
  return options.SerializeAsString();
}

TEST_CASE("the configuration that containerd's options name") {
  for (const char* type : {kType, "type.googleapis.com/runtimeoptions.v1.Options",
                           "containerd.runtimeoptions.v1.Options", "cri.runtimeoptions.v1.Options"})
    CHECK(decode_runtime_options(wrapped(type, with_path("/etc/kata.toml"))).value().config_path ==
          "/etc/kata.toml");
}

TEST_CASE("a configuration inside the options") {
  runtimeoptions::v1::Options options;
  options.set_config_body("[runtime]");
  CHECK(decode_runtime_options(wrapped(kType, options.SerializeAsString())).value().config_body ==
        "[runtime]");
  options.set_config_path("/etc/kata.toml");
  auto both = decode_runtime_options(wrapped(kType, options.SerializeAsString()));
  CHECK(both.value().config_path == "/etc/kata.toml");
  CHECK(both.value().config_body.empty());
}

TEST_CASE("options that say nothing to us") {
  for (const std::string& bytes :
       {std::string(), wrapped("containerd.runc.v1.Options", "\x08\x01"), wrapped(kType, "")}) {
    auto options = decode_runtime_options(bytes);
    CHECK(options.value().config_path.empty());
    CHECK(options.value().config_body.empty());
  }
}

TEST_CASE("options that cannot be honoured are refused") {
  CHECK(decode_runtime_options("\xff\xff").error().code() == Code::kInvalidArgument);
  CHECK(decode_runtime_options(wrapped(kType, "\xff")).error().code() == Code::kInvalidArgument);
  CHECK(decode_runtime_options(wrapped("containerd.runhcs.v1.Options", "")).error().message() ==
        "runtime options of the type \"containerd.runhcs.v1.Options\" are not supported: remove "
        "them, or give those of the type runtimeoptions.v1.Options with ConfigPath, the path of a "
        "configuration.toml");
  for (const std::string& path : {std::string("kata.toml"), std::string("/etc\0/x", 7)})
    CHECK(decode_runtime_options(wrapped(kType, with_path(path)))
              .error()
              .message()
              .ends_with("must be an absolute path"));
}

}  // namespace
}  // namespace kata::service
