#include "agent/container/stdio.h"

#include <fcntl.h>

#include "agent/container/stream.h"

namespace kata::container {
namespace {

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe for a standard stream");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace

Result<Stdio> Stdio::open(sandbox::EventLoop& loop, sandbox::ListenerFactory& listeners,
                          StdioWanted wanted) {
  Stdio stdio(loop);
  const std::array<bool, 3> is_wanted = {wanted.in, wanted.out, wanted.err};
  const std::array<uint32_t*, 3> ports = {&stdio.ports_.in, &stdio.ports_.out, &stdio.ports_.err};
  for (size_t i = 0; i < is_wanted.size(); ++i) {
    if (!is_wanted[i]) {
      stdio.child_ends_[i] =
          UniqueFd(::open("/dev/null", (i == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC));
      if (!stdio.child_ends_[i]) return fail_errno("open /dev/null");
      continue;
    }
    const bool input = i == 0;
    KATA_TRY(Pipe pipe, make_pipe());
    UniqueFd& ours = input ? pipe.writer : pipe.reader;
    // The flag belongs to the open file, which each end of a pipe has of its own.
    if (fcntl(ours.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("fcntl on a pipe");
    KATA_TRY(auto listener, listeners.listen(0));
    *ports[i] = listener->port();
    stdio.child_ends_[i] = std::move(input ? pipe.reader : pipe.writer);
    auto direction = input ? Stream::Direction::kToProcess : Stream::Direction::kFromProcess;
    auto stream = std::make_shared<Stream>(loop, direction, std::move(ours), std::move(listener));
    Status started;
    loop.call([&] { started = stream->start(); });
    KATA_CHECK(started);
    stdio.streams_[i] = std::move(stream);
  }
  return stdio;
}

Stdio::~Stdio() {
  if (!process_ended_) close();
}

std::array<int, 3> Stdio::child_ends() const {
  return {child_ends_[0].get(), child_ends_[1].get(), child_ends_[2].get()};
}

void Stdio::close_child_ends() {
  for (auto& end : child_ends_) end.reset();
}

void Stdio::process_ended() {
  process_ended_ = true;
  for (auto& stream : streams_) {
    if (stream) loop_->call([&] { stream->process_ended(); });
  }
}

void Stdio::close() {
  for (auto& stream : streams_) {
    if (stream) loop_->call([&] { stream->close(); });
  }
}

}  // namespace kata::container
