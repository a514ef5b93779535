// Sessions of a host with the agent, for the fuzz target of its calls.
#pragma once

#include <array>
#include <deque>
#include <future>
#include <string>
#include <vector>

#include "agent/rpc/handlers.h"
#include "agent/sandbox/sandbox.h"
#include "agent/testing/guest.h"
#include "session.pb.h"

namespace kata::fuzz {

/// What outlives a session: the event loop, the reaper, two cards, the root of control groups.
class World {
 public:
  World();
  /// One session from its beginning to the end of its sandbox. Everything that it has made must be
  /// gone then.
  void run(const Session& session);

 private:
  struct Open {
    size_t descriptors;
    size_t mounts;
    size_t groups;
    bool operator==(const Open&) const = default;
  };
  Open count_open();
  void make_cards();

  testing::Guest guest_;
  std::string rootfs_;
  container::Environment environment_;
  std::vector<int> card_indices_;
};

/// One sandbox and those who call its agent.
class Host {
 public:
  Host(testing::Guest& guest, sandbox::Sandbox& sandbox, std::string rootfs);
  void take(const Step& step);
  /// Ends all containers: every call has to be answered then.
  void end();

 private:
  template <typename Request, typename Response>
  void call(Result<Response> (*method)(sandbox::Sandbox&, const Request&), const Request& request);
  void create_container(rpc::pb::CreateContainerRequest request);
  void create_exec(const rpc::pb::CreateExecRequest& request);
  void update_network(rpc::pb::UpdateNetworkRequest request);
  void resize_guest(rpc::pb::ResizeGuestRequest request);
  template <typename Request, typename Response>
  void wait(void (*method)(sandbox::Sandbox&, const Request&, rpc::Finish<Response>),
            const Request& request);
  void use_stream(const UseStream& use);

  struct Waiting {
    std::promise<void> answered;
    rpc::pb::WaitProcessRequest process;
    rpc::pb::WaitOomRequest oom;
  };

  testing::Guest& guest_;
  sandbox::Sandbox& sandbox_;
  std::string rootfs_;
  std::array<uint32_t, 3> ports_{};  // of the last process that was created
  std::array<UniqueFd, 3> streams_;
  std::deque<Waiting> waiting_;
};

}  // namespace kata::fuzz
