#include "agent/testing/containers.h"

#include <filesystem>
#include <future>

#include <catch2/catch.hpp>

namespace kata::testing {

using container::Container;
using container::ContainerProcess;
using container::ProcessExit;

Containers::~Containers() {
  for (auto& container : containers) static_cast<void>(container->kill_and_remove());
}

container::CreateRequest Containers::request(const std::string& id,
                                             const std::vector<std::string>& args,
                                             container::StdioWanted stdio) const {
  return {id, make_spec(args), rootfs, stdio};
}

Result<std::shared_ptr<Container>> Containers::create(const container::CreateRequest& request) {
  auto container = Container::create(environment, request);
  if (container) containers.push_back(*container);
  return container;
}

std::shared_ptr<Container> Containers::must_create(const container::CreateRequest& request) {
  auto container = create(request);
  if (!container) FAIL(container.error().message());
  return *container;
}

std::shared_ptr<Container> Containers::sleeper(const std::string& id) {
  auto container = must_create(request(id, {"sleep", "1000"}));
  REQUIRE(container->start());
  return container;
}

bool Containers::has_cgroup(const std::string& id) const {
  return std::filesystem::exists(environment.cgroup_root / "kata" / id);
}

nlohmann::json make_process(const std::vector<std::string>& args) {
  return nlohmann::json::parse(make_spec(args))["process"];
}

std::shared_ptr<ContainerProcess> must_create_exec(Container& container, const std::string& id,
                                                   const nlohmann::json& process,
                                                   container::StdioWanted stdio) {
  auto created = container.create_exec({id, process.dump(), stdio});
  if (!created) FAIL(created.error().message());
  return *created;
}

ProcessExit wait_for_end(Container& container) { return wait_for_end(**container.process("")); }

ProcessExit wait_for_end(ContainerProcess& process) {
  std::promise<ProcessExit> ended;
  process.when_ended([&](const ProcessExit& exit) { ended.set_value(exit); });
  return ended.get_future().get();
}

ExecOutcome run_exec(Containers& containers, Container& container, const nlohmann::json& process,
                     const std::string& id) {
  auto exec = must_create_exec(container, id, process, kOutput);
  UniqueFd out = containers.guest.connect(exec->ports().out);
  if (auto started = container.start(id); !started) FAIL(started.error().message());
  ExecOutcome outcome;
  outcome.output = read_all(out.get());
  outcome.status = wait_for_end(*exec).status;
  if (auto removed = container.remove_exec(id); !removed) FAIL(removed.error().message());
  return outcome;
}

}  // namespace kata::testing
