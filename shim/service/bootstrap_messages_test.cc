#include "shim/service/bootstrap_messages.h"

#include <catch2/catch.hpp>
#include <google/protobuf/any.pb.h>

#include "containerd/bootstrap.pb.h"
#include "containerd/runtime_options.pb.h"

namespace kata::service {
namespace {

namespace api = containerd::runtime::bootstrap::v1;

api::BootstrapParams params() {
  api::BootstrapParams params;
  params.set_instance_id("c1");
  params.set_namespace_("default");
  params.set_containerd_version("2.3.0");
  params.set_containerd_grpc_address("/run/containerd/containerd.sock");
  params.set_containerd_ttrpc_address("/run/containerd/containerd.sock.ttrpc");
  params.set_containerd_binary("/usr/bin/containerd");
  return params;
}

google::protobuf::Any options(const std::string& path) {
  runtimeoptions::v1::Options options;
  options.set_config_path(path);
  google::protobuf::Any any;
  any.set_type_url("runtimeoptions.v1.Options");
  any.set_value(options.SerializeAsString());
  return any;
}

Result<StartInput> decode(const std::string& bytes) {
  return decode_start_input(bytes, "c1", "default");
}

TEST_CASE("bootstrap parameters of containerd 2.3") {
  auto all = params();
  all.set_log_level(api::LOG_LEVEL_TRACE);
  all.set_socket_dir("/run/c/s");
  *all.add_extensions()->mutable_value() = options("/etc/kata.toml");
  all.add_extensions()->mutable_value()->set_type_url("of.another.Extension");
  auto input = decode(all.SerializeAsString());
  REQUIRE(input);
  CHECK(input->takes_result);
  CHECK(input->debug);
  CHECK(input->grpc_address == "/run/containerd/containerd.sock");
  CHECK(input->ttrpc_address == "/run/containerd/containerd.sock.ttrpc");
  CHECK(input->socket_directory == "/run/c/s");
  CHECK(input->options.config_path == "/etc/kata.toml");

  auto least = decode(params().SerializeAsString());
  REQUIRE(least);
  CHECK(least->takes_result);
  CHECK_FALSE(least->debug);
  CHECK(least->socket_directory.empty());
  CHECK(least->options.config_path.empty());
}

TEST_CASE("fields and log levels of the future are no harm") {
  auto later = params();
  later.set_log_level(static_cast<api::LogLevel>(-100));
  std::string bytes = later.SerializeAsString() + "\xa2\x06\x03xyz";
  auto input = decode(bytes);
  REQUIRE(input);
  CHECK(input->debug);
}

TEST_CASE("options of an older containerd, or none") {
  for (const std::string& bytes : {std::string(), options("").SerializeAsString()}) {
    auto input = decode(bytes);
    REQUIRE(input);
    CHECK_FALSE(input->takes_result);
    CHECK(input->options.config_path.empty());
  }
  auto input = decode(options("/etc/kata.toml").SerializeAsString());
  REQUIRE(input);
  CHECK_FALSE(input->takes_result);
  CHECK(input->options.config_path == "/etc/kata.toml");
}

TEST_CASE("what is on stdin by mistake is refused") {
  auto message = [](const std::string& bytes) {
    auto input = decode(bytes);
    REQUIRE_FALSE(input);
    CHECK(input.error().code() == Code::kInvalidArgument);
    return input.error().message();
  };
  CHECK(message("\xff\xff").find("stdin") != std::string::npos);
  CHECK(message("{\"version\": 3}").find("stdin") != std::string::npos);
  CHECK(message("\x0a\x03new").find("type \"new\" are not supported") != std::string::npos);
  auto other = params();
  other.set_instance_id("c2");
  CHECK(message(other.SerializeAsString()).find("\"c2\"") != std::string::npos);
  auto relative = params();
  relative.set_socket_dir("s");
  CHECK(message(relative.SerializeAsString()).find("socket_dir") != std::string::npos);
  auto broken = params();
  broken.add_extensions()->mutable_value()->set_type_url("runtimeoptions.v1.Options");
  broken.mutable_extensions(0)->mutable_value()->set_value("\xff");
  CHECK(message(broken.SerializeAsString()).find("options") != std::string::npos);
}

TEST_CASE("the answer of containerd 2.3") {
  api::BootstrapResult result;
  REQUIRE(result.ParseFromString(encode_bootstrap_result(3, "unix:///run/containerd/s/x")));
  CHECK(result.version() == 3);
  CHECK(result.address() == "unix:///run/containerd/s/x");
  CHECK(result.protocol() == "ttrpc");
}

}  // namespace
}  // namespace kata::service
