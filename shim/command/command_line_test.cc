#include "shim/command/command_line.h"

#include <initializer_list>
#include <vector>

#include <catch2/catch.hpp>

namespace kata::command {
namespace {

Result<CommandLine> parse(std::vector<std::string> arguments) {
  return parse_command_line(arguments);
}

TEST_CASE("start as containerd 1.6 calls it") {
  auto line = parse({"-namespace", "default", "-address", "/run/containerd/containerd.sock",
                     "-publish-binary", "/usr/bin/containerd", "-id", "c1", "start"});
  REQUIRE(line);
  CHECK(line->action == Action::kStart);
  CHECK(line->nspace == "default");
  CHECK(line->address == "/run/containerd/containerd.sock");
  CHECK(line->id == "c1");
  CHECK(line->bundle.empty());
  CHECK_FALSE(line->debug);
}

TEST_CASE("delete as containerd calls it") {
  auto line = parse({"-namespace", "k8s.io", "-address", "/a", "-publish-binary", "/c", "-id", "c1",
                     "-bundle", "/run/b/c1", "-debug", "delete"});
  REQUIRE(line);
  CHECK(line->action == Action::kDelete);
  CHECK(line->bundle == "/run/b/c1");
  CHECK(line->debug);
}

TEST_CASE("without an action the shim serves") {
  CHECK(parse({"-namespace", "n", "-id", "c1"})->action == Action::kServe);
  CHECK(parse({"-namespace", "n", "-id", "c1", "-socket", "/s"})->socket == "/s");
  CHECK(parse({"-namespace", "n", "-id", "c1", "-config", "/c"})->config == "/c");
}

TEST_CASE("Go's ways of writing a flag") {
  CHECK(parse({"--namespace=n", "-id=c1", "--debug=true", "start"})->debug);
  CHECK_FALSE(parse({"-namespace", "n", "-id", "c1", "-debug=false", "start"})->debug);
  CHECK(parse({"-namespace", "n", "-id", "c1", "-address", "-odd", "start"})->address == "-odd");
  CHECK(parse({"-namespace", "n", "-id", "c1", "-address=", "start"})->address.empty());
}

TEST_CASE("version and info need nothing else") {
  CHECK(parse({"-v"})->action == Action::kVersion);
  CHECK(parse({"-info"})->action == Action::kInfo);
}

TEST_CASE("what is wrong is named") {
  auto message = [](std::vector<std::string> arguments) {
    auto line = parse(std::move(arguments));
    REQUIRE_FALSE(line);
    CHECK(line.error().code() == Code::kInvalidArgument);
    return line.error().message();
  };
  CHECK(message({"-nope", "start"}) == "flag provided but not defined: -nope");
  CHECK(message({"-namespace"}) == "flag needs an argument: -namespace");
  CHECK(message({"-namespace", "n", "-id", "c1", "destroy"}).find("\"destroy\"") !=
        std::string::npos);
  CHECK(message({"-namespace", "n", "-id", "c1", "-debug=maybe"}).find("\"maybe\"") !=
        std::string::npos);
  CHECK(message({"-id", "c1", "start"}).find("-namespace") != std::string::npos);
  CHECK(message({"-namespace", "n", "start"}).find("-id") != std::string::npos);
  CHECK(message({"-namespace", "n", "-id", "../c1", "start"}).find("../c1") != std::string::npos);
}

}  // namespace
}  // namespace kata::command
