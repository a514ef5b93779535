#include "agent/container/stdio.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

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

Result<UniqueFd> duplicate(int fd) {
  UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) return fail_errno("duplicate a terminal");
  return copy;
}

/// It comes from a process that the container may have got hold of, and anything else could block
/// the loop.
Status check_master(int fd) {
  struct stat info {};
  struct statfs system {};
  if (fstat(fd, &info) != 0 || fstatfs(fd, &system) != 0) return fail_errno("stat a terminal");
  int number = 0;
  if (!S_ISCHR(info.st_mode) || system.f_type != DEVPTS_SUPER_MAGIC ||
      ioctl(fd, TIOCGPTN, &number) != 0) {
    return fail(Code::kInternal, "what came as a terminal is none");
  }
  return {};
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
    stdio.child_ends_[i] = std::move(input ? pipe.reader : pipe.writer);
    KATA_TRY(*ports[i], stdio.add(i, std::move(ours), &listeners));
  }
  return stdio;
}

Result<Stdio> Stdio::open_terminal(sandbox::EventLoop& loop, sandbox::ListenerFactory& listeners,
                                   StdioWanted wanted, UniqueFd master) {
  KATA_CHECK(check_master(master.get()));
  if (fcntl(master.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) return fail_errno("fcntl on a pty");
  Stdio stdio(loop);
  if (wanted.in) {
    KATA_TRY(UniqueFd ours, duplicate(master.get()));
    KATA_TRY(stdio.ports_.in, stdio.add(STDIN_FILENO, std::move(ours), &listeners));
  }
  KATA_TRY(UniqueFd ours, duplicate(master.get()));
  KATA_TRY(stdio.ports_.out,
           stdio.add(STDOUT_FILENO, std::move(ours), wanted.out ? &listeners : nullptr));
  stdio.terminal_ = std::move(master);
  return stdio;
}

Result<uint32_t> Stdio::add(size_t index, UniqueFd ours, sandbox::ListenerFactory* listeners) {
  std::unique_ptr<sandbox::StreamListener> listener;
  if (listeners != nullptr) {
    KATA_TRY(listener, listeners->listen(0));
  }
  const uint32_t port = listener ? listener->port() : 0;
  auto direction =
      index == STDIN_FILENO ? Stream::Direction::kToProcess : Stream::Direction::kFromProcess;
  auto stream = std::make_shared<Stream>(*loop_, direction, std::move(ours), std::move(listener));
  Status started;
  loop_->call([&] { started = stream->start(); });
  KATA_CHECK(started);
  streams_[index] = std::move(stream);
  return port;
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

Status Stdio::resize(uint16_t columns, uint16_t rows) {
  if (!terminal_) return fail(Code::kFailedPrecondition, "the process has no terminal");
  winsize size{};
  size.ws_col = columns;
  size.ws_row = rows;
  if (ioctl(terminal_.get(), TIOCSWINSZ, &size) != 0) return fail_errno("resize the terminal");
  return {};
}

void Stdio::process_ended() {
  process_ended_ = true;
  terminal_.reset();
  for (auto& stream : streams_) {
    if (stream) loop_->call([&] { stream->process_ended(); });
  }
}

void Stdio::close() {
  terminal_.reset();
  for (auto& stream : streams_) {
    if (stream) loop_->call([&] { stream->close(); });
  }
}

}  // namespace kata::container
