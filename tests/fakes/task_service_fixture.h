// A TaskService behind a real ttrpc server, over a fake sandbox, with its events recorded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "containerd/task_events.pb.h"
#include "shim/service/task_service.h"
#include "shim/ttrpc/client.h"
#include "shim/ttrpc/test_support.h"
#include "tests/fakes/fake_sandbox.h"

namespace kata::service {

using fakes::FakeSandbox;
using testing::run;
using testing::run_until;

class FakeIo : public sandbox::ProcessIo {
 public:
  bool wants_stdin() const override { return false; }
  bool wants_stdout() const override { return false; }
  bool wants_stderr() const override { return false; }
  void attach(sandbox::StdioStreams) override {}
  Async<void> drained() override { co_return Status{}; }
  void close_stdin() override {}
  void process_ended() override {}
  void cancel() override {}
};

struct RecordedEvent {
  std::string topic;
  std::string type;
  std::string value;
};

class RecordingSink : public events::EventSink {
 public:
  void publish(std::string topic, const google::protobuf::MessageLite& event) override {
    events.push_back({std::move(topic), event.GetTypeName(), event.SerializeAsString()});
  }
  std::vector<std::string> topics() const {
    std::vector<std::string> all;
    for (const auto& event : events) all.push_back(event.topic);
    return all;
  }
  template <typename Event>
  Event decode(size_t index) const {
    Event event;
    CHECK(event.GetTypeName() == events.at(index).type);
    CHECK(event.ParseFromString(events.at(index).value));
    return event;
  }
  std::vector<RecordedEvent> events;
};

using Topics = std::vector<std::string>;

/// The service behind a real server and client, so that a test sees what containerd would.
struct ServiceFixture {
  ServiceFixture() {
    service.add_to(server, kTaskServiceV2);
    auto listener = sys::listen_unix(path);
    REQUIRE(listener);
    REQUIRE(server.serve(*std::move(listener)));
    client = run(context, ttrpc::Client::connect(context.get_executor(), path)).value();
  }

  template <typename Response = std::string, typename Request>
  Result<Response> call(const std::string& method, const Request& request) {
    KATA_TRY(std::string payload,
             run(context, client->call(kTaskServiceV2, method, request.SerializeAsString())));
    if constexpr (std::is_same_v<Response, std::string>) {
      return payload;
    } else {
      Response response;
      CHECK(response.ParseFromString(payload));
      return response;
    }
  }
  /// Sends a request whose answer the test waits for later.
  template <typename Request>
  std::shared_ptr<std::optional<Result<std::string>>> begin(const std::string& method,
                                                            const Request& request) {
    auto outcome = std::make_shared<std::optional<Result<std::string>>>();
    asio::co_spawn(
        context, client->call(kTaskServiceV2, method, request.SerializeAsString()),
        [outcome](std::exception_ptr, Result<std::string> result) { *outcome = result; });
    return outcome;
  }
  template <typename Request>
  static Request of(const std::string& id) {
    Request request;
    request.set_id(id);
    return request;
  }
  template <typename Request>
  static Request of_exec(const std::string& id, const std::string& exec_id) {
    auto request = of<Request>(id);
    request.set_exec_id(exec_id);
    return request;
  }
  Result<std::string> exec(const std::string& id, const std::string& exec_id) {
    auto request = of_exec<api::ExecProcessRequest>(id, exec_id);
    request.set_terminal(true);
    request.set_stdout("/fifos/" + exec_id);
    request.mutable_spec()->set_value(R"({"args": ["sh"]})");
    return call("Exec", request);
  }
  static api::CreateTaskRequest create_request(const std::string& id) {
    auto request = of<api::CreateTaskRequest>(id);
    request.set_bundle("/bundles/" + id);
    request.set_stdout("/fifos/" + id);
    auto* mount = request.add_rootfs();
    mount->set_type("overlay");
    mount->set_source("overlay");
    mount->add_options("lowerdir=/x");
    return request;
  }
  Result<api::CreateTaskResponse> create(const std::string& id) {
    return call<api::CreateTaskResponse>("Create", create_request(id));
  }
  Result<api::StartResponse> start(const std::string& id) {
    return call<api::StartResponse>("Start", of<api::StartRequest>(id));
  }
  Result<std::string> kill(const std::string& id, uint32_t signal) {
    auto request = of<api::KillRequest>(id);
    request.set_signal(signal);
    return call("Kill", request);
  }

  testing::TemporaryDirectory directory;
  std::filesystem::path path = directory / "sock";
  asio::io_context context{1};
  RecordingSink sink;
  std::vector<io::StdioConfig> opened;
  std::optional<Error> open_error;
  int shutdowns = 0;
  FakeSandbox sandbox{
      context.get_executor(),
      [this](const std::string& id, const std::string& exec_id, uint32_t pid,
             const sandbox::ProcessExit& exit) { service.on_exit(id, exec_id, pid, exit); }};
  TaskService service{
      sandbox, sink,
      [this](const io::StdioConfig& stdio) -> Async<std::unique_ptr<sandbox::ProcessIo>> {
        if (open_error) co_return std::unexpected(*open_error);
        opened.push_back(stdio);
        co_return std::make_unique<FakeIo>();
      },
      [this]() -> asio::awaitable<void> {
        ++shutdowns;
        co_return;
      }};
  ttrpc::Server server{context.get_executor()};
  std::unique_ptr<ttrpc::Client> client;
};

}  // namespace kata::service
