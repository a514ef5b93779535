#include "agent/sandbox/event_loop.h"

#include <future>

#include <catch2/catch.hpp>
#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace kata::sandbox {
namespace {

UniqueFd ready_eventfd() { return UniqueFd(eventfd(1, EFD_CLOEXEC)); }

TEST_CASE("A handler runs on the loop's thread when its descriptor is ready") {
  auto loop = EventLoop::start();
  REQUIRE(loop);
  UniqueFd event = ready_eventfd();
  std::promise<std::thread::id> called;
  (*loop)->call([&] {
    auto id = std::make_shared<EventLoop::WatchId>(0);
    auto added = (*loop)->add(event.get(), EPOLLIN, [&, id](uint32_t events) {
      CHECK((events & EPOLLIN) != 0);
      (*loop)->remove(*id);  // its own watch, while it runs
      called.set_value(std::this_thread::get_id());
    });
    REQUIRE(added);
    *id = *added;
  });
  CHECK(called.get_future().get() != std::this_thread::get_id());
}

TEST_CASE("A removed watch gets no event that epoll has handed out already") {
  auto loop = EventLoop::start();
  REQUIRE(loop);
  UniqueFd first = ready_eventfd(), second = ready_eventfd();
  int calls = 0;
  std::promise<void> called;
  (*loop)->call([&] {
    auto ids = std::make_shared<std::array<EventLoop::WatchId, 2>>();
    // Both are ready at once: whichever comes first removes both.
    auto handler = [&, ids](uint32_t) {
      ++calls;
      for (auto id : *ids) (*loop)->remove(id);
      called.set_value();
    };
    *ids = {*(*loop)->add(first.get(), EPOLLIN, handler),
            *(*loop)->add(second.get(), EPOLLIN, handler)};
  });
  called.get_future().wait();
  (*loop)->call([] {});
  CHECK(calls == 1);
}

TEST_CASE("Posted functions run in order, and call() returns when its own has run") {
  auto loop = EventLoop::start();
  REQUIRE(loop);
  std::string order;
  (*loop)->post([&] { order += 'a'; });
  (*loop)->post([&] { order += 'b'; });
  (*loop)->call([&] {
    (*loop)->call([&] { order += 'c'; });  // on the loop's own thread: at once
    order += 'd';
  });
  CHECK(order == "abcd");
}

}  // namespace
}  // namespace kata::sandbox
