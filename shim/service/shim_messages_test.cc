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

TEST_CASE("the configuration that containerd's options name") {
  runtimeoptions::v1::Options options;
  options.set_config_path("/etc/kata.toml");
  std::string value = options.SerializeAsString();
  CHECK(config_path_in_options(wrapped("runtimeoptions.v1.Options", value)).value() ==
        "/etc/kata.toml");
  CHECK(config_path_in_options(wrapped("type.googleapis.com/runtimeoptions.v1.Options", value))
            .value() == "/etc/kata.toml");
}

TEST_CASE("options that are none of ours") {
  CHECK(config_path_in_options("").value().empty());
  CHECK(config_path_in_options(wrapped("containerd.runc.v1.Options", "\x08\x01")).value().empty());
  CHECK(config_path_in_options(wrapped("runtimeoptions.v1.Options", "")).value().empty());
}

TEST_CASE("options that cannot be honoured are refused") {
  CHECK(config_path_in_options("\xff\xff").error().code() == Code::kInvalidArgument);
  CHECK(config_path_in_options(wrapped("runtimeoptions.v1.Options", "\xff")).error().code() ==
        Code::kInvalidArgument);
  runtimeoptions::v1::Options inlined;
  inlined.set_config_body("[runtime]");
  auto refused =
      config_path_in_options(wrapped("runtimeoptions.v1.Options", inlined.SerializeAsString()));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("ConfigPath") != std::string::npos);
}

}  // namespace
}  // namespace kata::service
