#include "shim/command/shim_socket.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include "common/sys/unix_socket.h"
#include "shim/ttrpc/test_support.h"

namespace kata::command {
namespace {

// What containerd-shim-runc-v2 of containerd 1.6.20 printed for these.
constexpr const char* kRuncAddress =
    "unix:///run/containerd/s/3db9d5d449b282960e341263d88b40946a2ff8011d6c37c661cc3a30d8eff482";

TEST_CASE("the socket is named as runc's shim names it") {
  CHECK(ShimSocket("/tmp/shim/ctd/containerd.sock", "default", "e2").address() == kRuncAddress);
  CHECK(ShimSocket("/tmp/shim//ctd/./containerd.sock", "default", "e2").address() == kRuncAddress);
}

struct SocketFixture {
  testing::TemporaryDirectory directory;
  ShimSocket socket{"/address", "default", "c1", directory / "s"};
};

TEST_CASE_METHOD(SocketFixture, "it is created with its directory, for root alone") {
  auto listener = socket.listen();
  REQUIRE(listener);
  struct stat info {};
  REQUIRE(stat(socket.path().c_str(), &info) == 0);
  CHECK(S_ISSOCK(info.st_mode));
  CHECK((info.st_mode & 07777) == 0600);
  CHECK(socket.is_served());
}

TEST_CASE_METHOD(SocketFixture, "a dead shim's socket is replaced") {
  REQUIRE(socket.listen());  // closed at once
  CHECK(std::filesystem::exists(socket.path()));
  CHECK_FALSE(socket.is_served());
  auto listener = socket.listen();
  REQUIRE(listener);
  CHECK(socket.is_served());
}

TEST_CASE_METHOD(SocketFixture, "a living shim's socket is not") {
  auto living = socket.listen();
  REQUIRE(living);
  auto second = socket.listen();
  REQUIRE_FALSE(second);
  CHECK(second.error().code() == Code::kAlreadyExists);
  CHECK(second.error().message().find(socket.path().native()) != std::string::npos);
  CHECK(socket.is_served());
}

TEST_CASE_METHOD(SocketFixture, "a bundle says where its socket is") {
  Bundle bundle(directory.path());
  auto found = [&](const char* id) {
    return ShimSocket::of_bundle("/address", "default", id, bundle).path();
  };
  CHECK(found("c1") == ShimSocket("/address", "default", "c1").path());
  REQUIRE(bundle.write_address(socket.address()));
  CHECK(found("c1") == socket.path());
  // A container that has joined a pod has the pod's there, which is not its to remove.
  CHECK(found("c2") == ShimSocket("/address", "default", "c2").path());
  auto listener = socket.listen();
  REQUIRE(listener);
  CHECK(sys::bound_path(listener->get()).value() == socket.path());
}

TEST_CASE_METHOD(SocketFixture, "removing it twice is no error") {
  auto listener = socket.listen();
  socket.remove();
  socket.remove();
  CHECK_FALSE(std::filesystem::exists(socket.path()));
  CHECK_FALSE(socket.is_served());
}

}  // namespace
}  // namespace kata::command
