#include "tests/fuzz/session.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>

#include <fcntl.h>
#include <net/if.h>
#include <netlink/route/link/veth.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/network/netlink.h"
#include "tests/fuzz/check.h"

namespace kata::fuzz {
namespace {

namespace fs = std::filesystem;
namespace pb = rpc::pb;
using namespace std::chrono_literals;
using LinkObject = network::NlOwner<rtnl_link, rtnl_link_put>;

constexpr std::array<const char*, 2> kCards = {"card0", "card1"};
constexpr std::array<const char*, 2> kCardAddresses = {"02:00:00:00:00:01", "02:00:00:00:00:02"};
/// Far more than the end of a process takes.
constexpr auto kAnswerLimit = 4s;

size_t count_entries(const fs::path& directory) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

size_t count_lines(const char* path) {
  std::ifstream file(path);
  return static_cast<size_t>(
      std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n'));
}

void expect_done(int answer) {
  const auto status = network::netlink_status("the fuzzer's cards", answer);
  expect(status.has_value(), status ? "" : status.error().message());
}

}  // namespace

World::World() : rootfs_(guest_.directory() / "rootfs"), environment_(guest_.environment()) {
  fs::create_directory(rootfs_);
}

/// A pair each, whose far end is up: a card that comes up has a carrier at once.
void World::make_cards() {
  auto socket = network::open_netlink();
  expect(socket.has_value(), "netlink");
  // By number: the last session may have given them any names.
  for (const int index : std::exchange(card_indices_, {})) {
    const LinkObject old(rtnl_link_alloc());
    rtnl_link_set_ifindex(old.get(), index);
    expect_done(rtnl_link_delete(socket->get(), old.get()));
  }
  for (size_t i = 0; i < kCards.size(); ++i) {
    const std::string far = std::string("far") + std::to_string(i);
    const LinkObject card(rtnl_link_veth_alloc());
    rtnl_link_set_name(card.get(), kCards[i]);
    const auto address = network::parse_address(kCardAddresses[i], AF_LLC);
    rtnl_link_set_addr(card.get(), address->get());
    rtnl_link* peer = rtnl_link_veth_get_peer(card.get());
    rtnl_link_set_name(peer, far.c_str());
    rtnl_link_put(peer);
    expect_done(rtnl_link_add(socket->get(), card.get(), NLM_F_CREATE | NLM_F_EXCL));
    const LinkObject far_card(rtnl_link_alloc());
    const LinkObject up(rtnl_link_alloc());
    rtnl_link_set_ifindex(far_card.get(), static_cast<int>(::if_nametoindex(far.c_str())));
    rtnl_link_set_flags(up.get(), IFF_UP);
    expect_done(rtnl_link_change(socket->get(), far_card.get(), up.get(), 0));
    card_indices_.push_back(static_cast<int>(::if_nametoindex(kCards[i])));
  }
}

World::Open World::count_open() {
  // What the loop has been asked for, it has done then.
  guest_.loop().call([] {});
  const fs::path pod = guest_.cgroup_root() / "kata";
  size_t groups = 0;
  if (fs::exists(pod))
    for (const auto& entry : fs::directory_iterator(pod)) groups += entry.is_directory();
  return {count_entries("/proc/self/fd"), count_lines("/proc/self/mounts"), groups};
}

void World::run(const Session& session) {
  const bool uses_cards = std::ranges::any_of(
      session.steps(), [](const Step& step) { return step.has_update_network(); });
  if (uses_cards) make_cards();
  const Open before = count_open();
  {
    sandbox::Sandbox sandbox(environment_, /*owns_guest=*/false, 1us);
    Host host(guest_, sandbox, rootfs_);
    for (const Step& step : session.steps()) host.take(step);
    host.end();
  }
  // Streams end on the loop's thread, when it sees that both of their ends have gone.
  const auto deadline = std::chrono::steady_clock::now() + kAnswerLimit;
  Open after = count_open();
  while (after != before && std::chrono::steady_clock::now() < deadline) after = count_open();
  if (after == before) return;
  std::fprintf(stderr,
               "fuzz: before and after: %zu %zu descriptors, %zu %zu mounts, %zu %zu groups\n",
               before.descriptors, after.descriptors, before.mounts, after.mounts, before.groups,
               after.groups);
  std::abort();
}

Host::Host(testing::Guest& guest, sandbox::Sandbox& sandbox, std::string rootfs)
    : guest_(guest), sandbox_(sandbox), rootfs_(std::move(rootfs)) {}

void Host::take(const Step& step) {
  switch (step.kind_case()) {
    case Step::kPrepareTemplate:
      return call(rpc::prepare_template, step.prepare_template());
    case Step::kCreateSandbox:
      return call(rpc::create_sandbox, step.create_sandbox());
    case Step::kCreateContainer:
      return create_container(step.create_container());
    case Step::kCreateExec:
      return create_exec(step.create_exec());
    case Step::kStartProcess:
      return call(rpc::start_process, step.start_process());
    case Step::kSignalProcess:
      return call(rpc::signal_process, step.signal_process());
    case Step::kWaitProcess:
      waiting_.emplace_back().process = step.wait_process();
      return wait(rpc::wait_process, waiting_.back().process);
    case Step::kListProcesses:
      return call(rpc::list_processes, step.list_processes());
    case Step::kDeleteExec:
      return call(rpc::delete_exec, step.delete_exec());
    case Step::kDeleteContainer:
      return call(rpc::delete_container, step.delete_container());
    case Step::kResizeTerminal:
      return call(rpc::resize_terminal, step.resize_terminal());
    case Step::kPauseContainer:
      return call(rpc::pause_container, step.pause_container());
    case Step::kResumeContainer:
      return call(rpc::resume_container, step.resume_container());
    case Step::kUpdateContainer:
      return call(rpc::update_container, step.update_container());
    case Step::kUpdateNetwork:
      return update_network(step.update_network());
    case Step::kResizeGuest:
      return resize_guest(step.resize_guest());
    case Step::kAdjustClock:
      return call(rpc::adjust_clock, step.adjust_clock());
    case Step::kGetMetrics:
      return call(rpc::get_metrics, step.get_metrics());
    case Step::kPing:
      return call(rpc::ping, step.ping());
    case Step::kWaitOom:
      waiting_.emplace_back().oom = step.wait_oom();
      return wait(rpc::wait_oom, waiting_.back().oom);
    case Step::kUseStream:
      return use_stream(step.use_stream());
    case Step::KIND_NOT_SET:
      return;
  }
}

template <typename Request, typename Response>
void Host::call(Result<Response> (*method)(sandbox::Sandbox&, const Request&),
                const Request& request) {
  if (auto answer = method(sandbox_, request); !answer) expect_readable(answer.error());
}

void Host::create_container(pb::CreateContainerRequest request) {
  // A disk that is not there is waited for: there is none. The rest of root_disks stays.
  request.mutable_root_disks()->clear_disks();
  if (request.root_disks().upper().empty() && request.root_disks().work().empty())
    request.clear_root_disks();
  auto answer = rpc::create_container(sandbox_, request);
  if (!answer) return expect_readable(answer.error());
  ports_ = {answer->process().stdin_port(), answer->process().stdout_port(),
            answer->process().stderr_port()};
  streams_ = {};
}

void Host::create_exec(const pb::CreateExecRequest& request) {
  auto answer = rpc::create_exec(sandbox_, request);
  if (!answer) return expect_readable(answer.error());
  ports_ = {answer->process().stdin_port(), answer->process().stdout_port(),
            answer->process().stderr_port()};
  streams_ = {};
}

void Host::update_network(pb::UpdateNetworkRequest request) {
  // A card that is not there is waited for: those that are have their turns.
  for (int i = 0; i < request.interfaces_size(); ++i)
    request.mutable_interfaces(i)->set_mac(
        kCardAddresses[static_cast<size_t>(i) % kCardAddresses.size()]);
  call(rpc::update_network, request);
}

void Host::resize_guest(pb::ResizeGuestRequest request) {
  // One that is not there is waited for.
  request.set_processors(std::min<uint32_t>(request.processors(), 1));
  call(rpc::resize_guest, request);
}

template <typename Request, typename Response>
void Host::wait(void (*method)(sandbox::Sandbox&, const Request&, rpc::Finish<Response>),
                const Request& request) {
  method(sandbox_, request, [waiting = &waiting_.back()](Result<Response> answer) {
    if (!answer) expect_readable(answer.error());
    waiting->answered.set_value();  // throws when it is not the first answer
  });
}

void Host::use_stream(const UseStream& use) {
  const size_t which = use.which() % streams_.size();
  UniqueFd& stream = streams_[which];
  if (!stream && ports_[which] != 0) {
    // Once: the agent listens for one connection.
    const uint32_t port = std::exchange(ports_[which], 0);
    if (fs::exists(guest_.directory() / std::to_string(port))) stream = guest_.connect(port);
  }
  if (!stream) return;
  std::array<char, 4096> buffer;
  [[maybe_unused]] auto sent =
      ::send(stream.get(), use.write().data(), use.write().size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (use.read()) (void)::recv(stream.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (use.end() == 1) ::shutdown(stream.get(), SHUT_WR);
  if (use.end() == 2) stream = UniqueFd();
}

void Host::end() {
  sandbox_.remove_all();
  for (Waiting& one : waiting_)
    expect(one.answered.get_future().wait_for(kAnswerLimit) == std::future_status::ready,
           "a call that is never answered");
}

}  // namespace kata::fuzz
