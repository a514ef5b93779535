// The kernel's file is played by a plain one: the hierarchy of the machine that runs the tests may
// have no memory controller.
#include "agent/container/oom_watch.h"

#include <fstream>
#include <future>

#include <catch2/catch.hpp>

#include "agent/testing/guest.h"

namespace kata::container {
namespace {

struct Fixture {
  Fixture() {
    set(0);
    watch = std::make_shared<OomWatch>(guest.loop(), file, [this]() -> Result<uint64_t> {
      std::ifstream in(file);
      std::string key;
      uint64_t value = 0;
      if (!(in >> key >> value)) return fail(Code::kNotFound, "nothing");
      return value;
    });
  }
  ~Fixture() { watch->close(); }

  void set(uint64_t kills) { std::ofstream(file) << "oom_kill " << kills << "\n"; }

  std::future<Result<uint64_t>> wait(uint64_t seen) {
    auto answer = std::make_shared<std::promise<Result<uint64_t>>>();
    watch->wait(seen, [answer](Result<uint64_t> kills) { answer->set_value(std::move(kills)); });
    return answer->get_future();
  }

  testing::Guest guest;
  std::filesystem::path file = guest.directory() / "memory.events";
  std::shared_ptr<OomWatch> watch;
};

TEST_CASE("An OOM kill is reported to those who have not seen it") {
  Fixture fixture;
  auto first = fixture.wait(0);
  auto second = fixture.wait(1);
  fixture.guest.loop().call([] {});
  CHECK(first.wait_for(std::chrono::milliseconds(50)) == std::future_status::timeout);
  fixture.set(1);
  CHECK(first.get() == 1);
  CHECK(second.wait_for(std::chrono::milliseconds(50)) == std::future_status::timeout);
  CHECK(fixture.wait(0).get() == 1);
  fixture.set(5);
  CHECK(second.get() == 5);
}

TEST_CASE("The removal of the container ends the waiting") {
  Fixture fixture;
  auto before = fixture.wait(0);
  SECTION("with a file") {}
  SECTION("without one") { std::filesystem::remove(fixture.file); }
  fixture.watch->close();
  fixture.watch->close();
  CHECK(before.get().error().code() == Code::kNotFound);
  CHECK(fixture.wait(0).get().error().code() == Code::kNotFound);
}

}  // namespace
}  // namespace kata::container
