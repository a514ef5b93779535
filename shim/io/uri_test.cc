#include "shim/io/uri.h"

#include <catch2/catch.hpp>

namespace kata::io {
namespace {

using Query = std::vector<std::pair<std::string, std::string>>;

TEST_CASE("a path is a fifo's, whatever is in it") {
  auto uri = parse_stdio_uri("/run/x%20y?a=b#c://d");
  REQUIRE(uri);
  CHECK(uri->scheme == "fifo");
  CHECK(uri->path == "/run/x%20y?a=b#c://d");
  CHECK(parse_stdio_uri("")->path.empty());
}

TEST_CASE("a URI is taken apart and decoded") {
  auto uri = parse_stdio_uri("BINARY:///usr/bin/my%20logger?--to=a+b%2Bc&flag&=x&&e=#fragment?y=z");
  REQUIRE(uri);
  CHECK(uri->scheme == "binary");
  CHECK(uri->path == "/usr/bin/my logger");
  CHECK(uri->query == Query{{"--to", "a b+c"}, {"flag", ""}, {"", "x"}, {"e", ""}});
  CHECK(parse_stdio_uri("file:///var/log/a+b")->path == "/var/log/a+b");
}

TEST_CASE("what is no URI is refused with its text") {
  for (const char* wrong : {"file://host/log", "file://", "binary:///x%2", "binary:///x?a=%zz",
                            "file:///x%00y", "file:///%+1"}) {
    auto uri = parse_stdio_uri(wrong);
    INFO(wrong);
    REQUIRE_FALSE(uri);
    CHECK(uri.error().code() == Code::kInvalidArgument);
    CHECK(uri.error().message().starts_with(wrong));
  }
}

}  // namespace
}  // namespace kata::io
