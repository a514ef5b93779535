// Who still waits for an answer, and whether anybody uses the server.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <catch2/catch.hpp>

#include "shim/ttrpc/client.h"
#include "shim/ttrpc/server.h"
#include "shim/ttrpc/test_support.h"

namespace kata::ttrpc {
namespace {

using testing::connect_raw;
using testing::encode_request;
using testing::read_answer;
using testing::run;
using testing::run_until;

struct CallerFixture {
  CallerFixture() {
    server->add_method("svc", "Work", [this](std::string, Caller caller) -> Async<std::string> {
      ++started;
      co_await work_done.wait();
      caller.has_gone() ? ++undone : ++kept;
      co_return "done";
    });
    server->add_method("svc", "UntilGone",
                       [this](std::string, Caller caller) -> Async<std::string> {
                         using namespace asio::experimental::awaitable_operators;
                         ++started;
                         co_await (work_done.wait() || caller.gone());
                         caller.has_gone() ? ++undone : ++kept;
                         co_return "done";
                       });
    auto listener = sys::listen_unix(path);
    REQUIRE(listener);
    REQUIRE(server->serve(*std::move(listener)));
  }
  std::shared_ptr<Channel> call(const std::string& method, int64_t timeout_nanoseconds = 0) {
    auto channel = connect_raw(context, path);
    channel->send(1, kTypeRequest, encode_request("svc", method, "", timeout_nanoseconds));
    run_until(context, [&] { return started == 1; });
    return channel;
  }

  testing::TemporaryDirectory directory;
  std::filesystem::path path = directory / "sock";
  asio::io_context context{1};
  sys::Event work_done{context.get_executor()};
  int started = 0;
  int kept = 0;
  int undone = 0;
  std::unique_ptr<Server> server = std::make_unique<Server>(context.get_executor());
};

TEST_CASE_METHOD(CallerFixture, "a caller that waits is there") {
  auto channel = call("Work");
  work_done.set();
  CHECK(run(context, read_answer(channel)).payload == "done");
  CHECK(kept == 1);
}

TEST_CASE_METHOD(CallerFixture, "a handler learns that its caller has gone") {
  auto channel = call("Work");
  channel->close();
  run_until(context, [&] { return server->connections() == 0; });
  CHECK(server->running_requests() == 1);
  work_done.set();
  run_until(context, [&] { return undone == 1; });
  run_until(context, [&] { return server->running_requests() == 0; });
}

TEST_CASE_METHOD(CallerFixture, "a handler need not wait for its work to learn it") {
  auto channel = call("UntilGone");
  channel->close();
  run_until(context, [&] { return undone == 1; });
  CHECK_FALSE(work_done.is_set());
}

TEST_CASE_METHOD(CallerFixture, "a caller whose deadline has passed waits no more") {
  auto channel = call("UntilGone", 1'000'000);
  run_until(context, [&] { return undone == 1; });
  CHECK(run(context, read_answer(channel)).code == static_cast<int>(Code::kDeadlineExceeded));
  CHECK(server->connections() == 1);
}

TEST_CASE_METHOD(CallerFixture, "one caller's going is no other's") {
  auto leaving = call("Work");
  auto staying = connect_raw(context, path);
  staying->send(1, kTypeRequest, encode_request("svc", "Work"));
  run_until(context, [&] { return started == 2; });
  leaving->close();
  run_until(context, [&] { return server->connections() == 1; });
  work_done.set();
  CHECK(run(context, read_answer(staying)).payload == "done");
  CHECK(kept == 1);
  CHECK(undone == 1);
}

TEST_CASE_METHOD(CallerFixture, "every change of the server's use is told") {
  std::vector<std::pair<size_t, size_t>> seen;
  server->on_change([&] { seen.emplace_back(server->connections(), server->running_requests()); });
  auto channel = call("Work");
  work_done.set();
  run(context, read_answer(channel));
  channel->close();
  run_until(context, [&] { return server->connections() == 0; });
  CHECK(seen == std::vector<std::pair<size_t, size_t>>{{1, 0}, {1, 1}, {1, 0}, {0, 0}});
}

TEST_CASE_METHOD(CallerFixture, "a server that is gone tells nothing") {
  int told = 0;
  auto channel = call("Work");
  server->on_change([&] { ++told; });
  server.reset();
  work_done.set();
  run_until(context, [&] { return undone == 1; });
  CHECK(told == 0);
}

}  // namespace
}  // namespace kata::ttrpc
