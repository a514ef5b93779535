#include "shim/events/publisher.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "containerd/events.pb.h"
#include "containerd/task_events.pb.h"
#include "shim/ttrpc/server.h"
#include "shim/ttrpc/test_support.h"

namespace kata::events {
namespace {

using containerd::services::events::ttrpc::v1::Envelope;
using containerd::services::events::ttrpc::v1::ForwardRequest;
using testing::run;
using testing::run_until;

constexpr std::chrono::milliseconds kLong{60'000};

/// The receiving end. Destroying it is containerd's end.
struct FakeContainerd {
  FakeContainerd(asio::io_context& context, const std::filesystem::path& path,
                 std::vector<Envelope>& received, std::vector<Error> refusals = {})
      : server(context.get_executor()), left(std::move(refusals)) {
    server.add_method("containerd.services.events.ttrpc.v1.Events", "Forward",
                      [this, &received](std::string payload) -> Async<std::string> {
                        if (!left.empty()) {
                          Error refusal = left.back();
                          left.pop_back();
                          co_return std::unexpected(refusal);
                        }
                        ForwardRequest request;
                        CHECK(request.ParseFromString(payload));
                        received.push_back(request.envelope());
                        co_return "";
                      });
    std::filesystem::remove(path);
    auto listener = sys::listen_unix(path);
    REQUIRE(listener);
    REQUIRE(server.serve(*std::move(listener)));
  }
  ttrpc::Server server;
  std::vector<Error> left;  // answered to the next requests, the last first
};

struct PublisherFixture {
  PublisherOptions options() const {
    return {.address = path,
            .nspace = "k8s.io",
            .max_queued = 8,
            .first_pause = std::chrono::milliseconds(1),
            .max_pause = std::chrono::milliseconds(4)};
  }
  void start_containerd(std::vector<Error> refusals = {}) {
    containerd = std::make_unique<FakeContainerd>(context, path, received, std::move(refusals));
  }
  void publish(uint32_t pid) {
    containerd::events::TaskStart event;
    event.set_container_id("c1");
    event.set_pid(pid);
    publisher.publish(kTopicStart, event);
  }
  std::vector<uint32_t> received_pids() const {
    std::vector<uint32_t> pids;
    for (const Envelope& envelope : received) {
      containerd::events::TaskStart event;
      CHECK(event.ParseFromString(envelope.event().value()));
      pids.push_back(event.pid());
    }
    return pids;
  }

  testing::TemporaryDirectory directory;
  std::filesystem::path path = directory / "ttrpc";
  asio::io_context context{1};
  std::vector<Envelope> received;
  std::unique_ptr<FakeContainerd> containerd;
  Publisher publisher{context.get_executor(), options()};
};

TEST_CASE_METHOD(PublisherFixture, "an envelope is what containerd expects") {
  start_containerd();
  publish(42);
  CHECK(run(context, publisher.flush(kLong)));
  REQUIRE(received.size() == 1);
  CHECK(received[0].namespace_() == "k8s.io");
  CHECK(received[0].topic() == "/tasks/start");
  CHECK(received[0].event().type_url() == "containerd.events.TaskStart");
  CHECK(received[0].timestamp().seconds() > 0);
  CHECK(received_pids() == std::vector<uint32_t>{42});
}

TEST_CASE_METHOD(PublisherFixture, "events arrive in order") {
  start_containerd();
  for (uint32_t i = 0; i < 5; ++i) publish(i);
  CHECK(run(context, publisher.flush(kLong)));
  publish(5);
  CHECK(run(context, publisher.flush(kLong)));
  CHECK(received_pids() == std::vector<uint32_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE_METHOD(PublisherFixture, "events wait for a containerd that is away") {
  publish(1);
  publish(2);
  CHECK_FALSE(run(context, publisher.flush(std::chrono::milliseconds(20))));
  start_containerd();
  CHECK(run(context, publisher.flush(kLong)));
  CHECK(received_pids() == std::vector<uint32_t>{1, 2});

  containerd.reset();
  publish(3);
  publish(4);
  CHECK_FALSE(run(context, publisher.flush(std::chrono::milliseconds(20))));
  start_containerd();
  CHECK(run(context, publisher.flush(kLong)));
  CHECK(received_pids() == std::vector<uint32_t>{1, 2, 3, 4});
}

TEST_CASE_METHOD(PublisherFixture, "a connection that breaks before the answer: sent again") {
  asio::local::stream_protocol::acceptor acceptor(
      context, asio::local::stream_protocol::endpoint(path.native()));
  ttrpc::Socket socket(context);
  bool accepted = false;
  acceptor.async_accept(socket, [&](boost::system::error_code) { accepted = true; });
  publish(1);
  run_until(context, [&] { return accepted; });
  auto first = std::make_shared<ttrpc::Channel>(std::move(socket));
  CHECK(run(context, first->read()));
  acceptor.close();
  first->close();
  start_containerd();
  CHECK(run(context, publisher.flush(kLong)));
  CHECK(received_pids() == std::vector<uint32_t>{1});
}

TEST_CASE_METHOD(PublisherFixture, "a full queue drops the newest") {
  for (uint32_t i = 0; i < 20; ++i) publish(i);
  start_containerd();
  CHECK(run(context, publisher.flush(kLong)));
  CHECK(received_pids() == std::vector<uint32_t>{0, 1, 2, 3, 4, 5, 6, 7});
  publish(99);
  CHECK(run(context, publisher.flush(kLong)));
  CHECK(received_pids().back() == 99);
}

TEST_CASE_METHOD(PublisherFixture, "a refused event is tried again, an invalid one is not") {
  start_containerd({Error(Code::kUnavailable, "later"), Error(Code::kInvalidArgument, "bad")});
  publish(1);
  publish(2);
  CHECK(run(context, publisher.flush(kLong)));
  CHECK(received_pids() == std::vector<uint32_t>{2});
}

TEST_CASE_METHOD(PublisherFixture, "an event that is refused again and again is given up") {
  start_containerd(std::vector<Error>(6, Error(Code::kInternal, "no")));
  publish(1);
  publish(2);
  CHECK(run(context, publisher.flush(kLong)));
  CHECK(received_pids() == std::vector<uint32_t>{2});
}

TEST_CASE_METHOD(PublisherFixture, "close drops what is queued") {
  publish(1);
  publisher.close();
  CHECK(run(context, publisher.flush(kLong)));
  start_containerd();
  publish(2);
  CHECK(run(context, publisher.flush(kLong)));
  CHECK(received.empty());
}

TEST_CASE("without an address events are dropped") {
  asio::io_context context(1);
  Publisher publisher(context.get_executor(), {.address = {}, .nspace = "default"});
  publisher.publish(kTopicStart, containerd::events::TaskStart());
  CHECK(run(context, publisher.flush(kLong)));
}

}  // namespace
}  // namespace kata::events
