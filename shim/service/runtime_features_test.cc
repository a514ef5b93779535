#include "shim/service/runtime_features.h"

#include <catch2/catch.hpp>
#include <google/protobuf/any.pb.h>
#include <nlohmann/json.hpp>

#include "common/sys/mount.h"
#include "containerd/introspection.pb.h"
#include "containerd/runtime_options.pb.h"

namespace kata::service {
namespace {

using nlohmann::json;

containerd::types::RuntimeInfo info_for(const std::string& input) {
  auto encoded = encode_runtime_info("io.containerd.kata.v2", "1.2.3", input);
  REQUIRE(encoded);
  containerd::types::RuntimeInfo info;
  REQUIRE(info.ParseFromString(*encoded));
  return info;
}

std::string wrapped(const std::string& type_url, const std::string& value) {
  google::protobuf::Any any;
  any.set_type_url(type_url);
  any.set_value(value);
  return any.SerializeAsString();
}

TEST_CASE("a runtime's name, version and features") {
  auto info = info_for("");
  CHECK(info.name() == "io.containerd.kata.v2");
  CHECK(info.version().version() == "1.2.3");
  CHECK_FALSE(info.has_options());
  CHECK(info.features().type_url() ==
        "types.containerd.io/opencontainers/runtime-spec/1/features/Features");
  CHECK(json::parse(info.features().value()) == json::parse(runtime_features()));
}

TEST_CASE("features have the form that containerd reads") {
  json features = json::parse(runtime_features());
  CHECK(features.at("ociVersionMin") == "1.0.0");
  CHECK(features.at("hooks").size() == 6);
  json platform = features.at("linux");
  // containerd's CRI plugin and its check of id-mapped mounts.
  CHECK(platform.at("mountExtensions").at("idmap").at("enabled") == false);
  auto namespaces = platform.at("namespaces").get<std::vector<std::string>>();
  CHECK(std::find(namespaces.begin(), namespaces.end(), "pid") != namespaces.end());
  CHECK(platform.at("cgroup").at("v2") == true);
  for (const char* part : {"seccomp", "apparmor", "selinux", "intelRdt"})
    CHECK(platform.at(part).at("enabled").is_boolean());
}

TEST_CASE("every mount option that is named is understood") {
  auto options = json::parse(runtime_features()).at("mountOptions").get<std::vector<std::string>>();
  CHECK(options.size() > 50);
  auto parsed = sys::parse_mount_options(options);
  // What is not understood is left to the file system.
  CHECK(parsed.data.empty());
  CHECK(parsed.unsupported.empty());
}

TEST_CASE("options of this runtime are repeated, others are not") {
  runtimeoptions::v1::Options options;
  options.set_config_path("/etc/kata.toml");
  auto info = info_for(wrapped("runtimeoptions.v1.Options", options.SerializeAsString()));
  CHECK(info.options().type_url() == "runtimeoptions.v1.Options");
  CHECK(info.options().value() == options.SerializeAsString());
  CHECK_FALSE(info_for(wrapped("containerd.runc.v1.Options", "\x08\x01")).has_options());
}

TEST_CASE("options may come inside a request") {
  containerd::types::RuntimeRequest request;
  request.set_runtime_path("io.containerd.kata.v2");
  CHECK_FALSE(info_for(request.SerializeAsString()).has_options());
  request.mutable_options()->set_type_url("runtimeoptions.v1.Options");
  CHECK(info_for(request.SerializeAsString()).options().type_url() == "runtimeoptions.v1.Options");
  request.mutable_options()->set_value("\xff");
  CHECK(encode_runtime_info("name", "version", request.SerializeAsString()).error().code() ==
        Code::kInvalidArgument);
}

TEST_CASE("a stdin that holds no options is refused") {
  for (const std::string& input :
       {std::string("\xff\xff"), wrapped("runtimeoptions.v1.Options", "\xff")}) {
    auto encoded = encode_runtime_info("name", "version", input);
    REQUIRE_FALSE(encoded);
    CHECK(encoded.error().code() == Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace kata::service
