#include "common/oci/hooks.h"

#include <catch2/catch.hpp>

namespace kata::oci {
namespace {

TEST_CASE("a state is one line of JSON, in the order of the specification") {
  State state{.id = "c1", .status = kCreating, .pid = 42, .bundle = "/b", .annotations = {}};
  CHECK(to_json(state) ==
        R"({"ociVersion":"1.2.1","id":"c1","status":"creating","pid":42,"bundle":"/b"})");
  state.status = kStopped;
  state.pid = 0;
  state.annotations = {{"k", "v"}};
  CHECK(
      to_json(state) ==
      R"({"ociVersion":"1.2.1","id":"c1","status":"stopped","bundle":"/b","annotations":{"k":"v"}})");
  state.bundle = std::string(1, '\xff');
  CHECK_NOTHROW(to_json(state));
}

TEST_CASE("a hook's error names it, its end and what it has said") {
  Hook hook{.path = "/bin/false", .args = {}, .env = {}, .timeout_s = {}};
  auto error = hook_error("createRuntime", 1, hook, Code::kAborted, "exited with status 1", "why");
  CHECK(error.code() == Code::kAborted);
  CHECK(error.message() ==
        "error running createRuntime hook #1 (/bin/false): exited with status 1: why");
  CHECK(hook_error("poststop", 0, hook, Code::kNotFound, "no such file").message() ==
        "error running poststop hook #0 (/bin/false): no such file");
  CHECK(arguments_of(hook) == std::vector<std::string>{"/bin/false"});
  hook.args = {"f", "x"};
  CHECK(arguments_of(hook) == hook.args);
}

}  // namespace
}  // namespace kata::oci
