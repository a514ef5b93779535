// For tests: containers and execs that are gone at the end of the test, however it ends.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "agent/container/container.h"
#include "agent/testing/guest.h"

namespace kata::testing {

inline constexpr container::StdioWanted kOutput{.out = true};

struct Containers {
  Containers() : environment(guest.environment()), rootfs(guest.make_rootfs()) {}
  ~Containers();

  container::CreateRequest request(const std::string& id, const std::vector<std::string>& args,
                                   container::StdioWanted stdio = {}) const;
  Result<std::shared_ptr<container::Container>> create(const container::CreateRequest& request);
  std::shared_ptr<container::Container> must_create(const container::CreateRequest& request);
  /// A running container that sleeps.
  std::shared_ptr<container::Container> sleeper(const std::string& id);
  bool has_cgroup(const std::string& id) const;

  Guest guest;
  container::Environment environment;
  std::string rootfs;
  std::vector<std::shared_ptr<container::Container>> containers;
};

/// `process` of a config.json.
nlohmann::json make_process(const std::vector<std::string>& args);
std::shared_ptr<container::ContainerProcess> must_create_exec(container::Container& container,
                                                              const std::string& id,
                                                              const nlohmann::json& process,
                                                              container::StdioWanted stdio = {});

container::ProcessExit wait_for_end(container::Container& container);
container::ProcessExit wait_for_end(container::ContainerProcess& process);

struct ExecOutcome {
  std::string output;
  uint32_t status = 0;
};
/// Creates, starts, waits for the output's end and for the process's, deletes.
ExecOutcome run_exec(Containers& containers, container::Container& container,
                     const nlohmann::json& process, const std::string& id = "e");

}  // namespace kata::testing
