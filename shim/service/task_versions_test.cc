// The two versions of the task service are one service.
#include <catch2/catch.hpp>

#include "shim/service/task_service.h"
#include "shim/ttrpc/client.h"
#include "shim/ttrpc/test_support.h"
#include "tests/fakes/fake_sandbox.h"

namespace kata::service {
namespace {

class NoEvents : public events::EventSink {
 public:
  void publish(std::string, const google::protobuf::MessageLite&) override {}
};

struct VersionsFixture {
  VersionsFixture() {
    service.add_to(server, kTaskServiceV2);
    service.add_to(server, kTaskServiceV3);
    REQUIRE(server.serve(sys::listen_unix(path).value()));
    client = testing::run(context, ttrpc::Client::connect(context.get_executor(), path)).value();
  }
  Result<std::string> call(const char* version, const char* method,
                           const google::protobuf::MessageLite& request) {
    return testing::run(context, client->call(version, method, request.SerializeAsString()));
  }

  testing::TemporaryDirectory directory;
  std::filesystem::path path = directory / "sock";
  asio::io_context context{1};
  NoEvents events;
  fakes::FakeSandbox sandbox{
      context.get_executor(),
      [this](const std::string& id, const std::string& exec_id, uint32_t pid,
             const sandbox::ProcessExit& exit) { service.on_exit(id, exec_id, pid, exit); }};
  TaskService service{sandbox, events,
                      [this](const io::StdioConfig& stdio) {
                        return io::open_stdio(context.get_executor(), stdio);
                      },
                      []() -> asio::awaitable<void> { co_return; }};
  ttrpc::Server server{context.get_executor()};
  std::unique_ptr<ttrpc::Client> client;
};

TEST_CASE_METHOD(VersionsFixture, "what one version creates the other one sees") {
  api::CreateTaskRequest create;
  create.set_id("c1");
  create.set_bundle("/bundles/c1");
  REQUIRE(call(kTaskServiceV3, "Create", create));
  for (const char* version : {kTaskServiceV2, kTaskServiceV3}) {
    CHECK(call(version, "Create", create).error().code() == Code::kAlreadyExists);
    api::StateRequest request;
    request.set_id("c1");
    auto payload = call(version, "State", request);
    REQUIRE(payload);
    api::StateResponse state;
    REQUIRE(state.ParseFromString(*payload));
    CHECK(state.bundle() == "/bundles/c1");
  }
}

TEST_CASE_METHOD(VersionsFixture, "both versions have every method") {
  for (const char* version : {kTaskServiceV2, kTaskServiceV3})
    for (const char* method :
         {"State", "Create", "Start", "Delete", "Pids", "Pause", "Resume", "Checkpoint", "Kill",
          "Exec", "ResizePty", "CloseIO", "Update", "Wait", "Stats", "Connect", "Shutdown"}) {
      auto answer = call(version, method, api::StateRequest());
      INFO(version << " " << method);
      CHECK((answer || answer.error().message() != std::string("method ") + method));
    }
  CHECK(call("containerd.task.v4.Task", "State", api::StateRequest()).error().code() ==
        Code::kUnimplemented);
}

}  // namespace
}  // namespace kata::service
