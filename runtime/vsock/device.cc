#include "runtime/vsock/device.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "common/log/log.h"

namespace kata::vsock {
namespace {

constexpr int kMaxMessagesPerRound = 64;
/// More than both rings hold; a hostile ring must not keep this thread for ever.
constexpr int kMaxLastRounds = 64;

}  // namespace

Result<std::unique_ptr<Device>> Device::create(const DeviceSockets& sockets) {
  KATA_TRY(EventLoop loop, EventLoop::create());
  std::unique_ptr<Device> device(new Device(std::move(loop), sockets.host));
  KATA_TRY(UnixListener listener, UnixListener::open(sockets.front_end));
  device->sockets_.front_end = sockets.front_end;
  KATA_TRY(device->host_listener_, HostListener::open(device->loop_, sockets.host));
  device->sockets_.host = sockets.host;
  KATA_CHECK(device->loop_.add(listener.fd(), EPOLLIN, {EventToken::Kind::kFrontEndListener}));
  device->front_end_listener_ = std::move(listener);
  return device;
}

Device::~Device() {
  muxer_.detach();
  session_.reset();
  for (const auto& path : {sockets_.front_end, sockets_.host}) {
    if (!path.empty()) ::unlink(path.c_str());
  }
}

void Device::run(int stop_fd) {
  stopping_ = false;
  if (auto added = loop_.add(stop_fd, EPOLLIN, {EventToken::Kind::kStop}); !added) {
    log::error("vsock device cannot run", {{"error", added.error().message()}});
    return;
  }
  bool idle = true;
  while (!stopping_) idle = run_once(idle ? muxer_.next_service() : PaceClock::now());
  loop_.remove(stop_fd);
}

bool Device::run_once(std::optional<PaceClock::time_point> until) {
  for (const Event& event : loop_.wait(until)) dispatch(event);
  auto more = muxer_.service();
  if (more) return !*more;
  end_session(more.error());
  return true;
}

void Device::dispatch(const Event& event) {
  switch (event.token.kind) {
    case EventToken::Kind::kStop:
      stopping_ = true;
      break;
    case EventToken::Kind::kFrontEndListener:
      accept_front_end();
      break;
    case EventToken::Kind::kFrontEnd:
      if (auto served = serve_front_end(); !served) end_session(served.error());
      break;
    case EventToken::Kind::kKick:
      // Edge-triggered and never read: each kick wakes the thread, and every round serves the
      // queues.
      break;
    case EventToken::Kind::kHostListener:
      host_listener_->accept_clients();
      break;
    case EventToken::Kind::kHandshake:
      if (auto request = host_listener_->advance(event.token.id, event.events)) {
        muxer_.connect_to_guest(std::move(request->socket), request->port);
      }
      break;
    case EventToken::Kind::kConnection:
      muxer_.on_socket_events(event.token.id, event.events);
      break;
  }
}

void Device::accept_front_end() {
  while (UniqueFd socket = front_end_listener_->accept()) {
    // The one that has left may not have been noticed yet.
    if (auto served = serve_front_end(); !served) end_session(served.error());
    if (front_end_) {
      log::warning("a second vhost-user front end is turned away");
      continue;
    }
    front_end_.emplace(std::move(socket));
    VhostUserSession::Observer& observer = *this;
    session_ = std::make_unique<VhostUserSession>(observer, kGuestCid);
    muxer_.attach(session_.get());
    if (auto added = loop_.add(front_end_->fd(), EPOLLIN, {EventToken::Kind::kFrontEnd}); !added) {
      end_session(added.error());
    }
  }
}

Status Device::serve_front_end() {
  // A front end that never stops sending must not keep this thread from its other work.
  for (int messages = 0; front_end_ && messages < kMaxMessagesPerRound; ++messages) {
    KATA_TRY(auto message, front_end_->receive());
    if (!message) break;
    const uint32_t request = message->request;
    KATA_TRY(const auto reply, session_->handle(*std::move(message)));
    if (reply) KATA_CHECK(front_end_->reply(request, *reply));
  }
  return {};
}

void Device::end_session(const Error& reason) {
  if (!front_end_) return;
  // The front end's departure is how every VM ends; anything else deserves attention.
  if (reason.code() == Code::kUnavailable) {
    serve_last_words();
    log::info("vsock session ended", {{"reason", reason.message()}});
  } else {
    log::error("vsock session ended for a violation", {{"reason", reason.message()}});
  }
  loop_.remove(front_end_->fd());
  front_end_.reset();
  muxer_.detach();
  session_.reset();
}

/// What a guest has sent before its end is still in its rings, and its memory still mapped.
void Device::serve_last_words() {
  for (int round = 0; round < kMaxLastRounds; ++round) {
    auto more = muxer_.service();
    if (!more || !*more) return;
  }
}

void Device::kick_added(uint32_t queue, int fd) {
  if (auto added = loop_.add(fd, EPOLLIN | EPOLLET, {EventToken::Kind::kKick, queue}); !added) {
    log::error("vsock device cannot watch a queue", {{"error", added.error().message()}});
  }
}

void Device::kick_removed(uint32_t queue, int fd) {
  if (queue == kTransmitQueue) muxer_.send_taken_interrupt();
  loop_.remove(fd);
}

void Device::device_reset() { muxer_.close_connections(); }

}  // namespace kata::vsock
