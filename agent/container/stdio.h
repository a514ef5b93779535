// The standard streams of one process: pipes on its side, connections of the host on the other.
//
// The process gets pipes, as under runc: programs open /dev/stdout again or look at its type. A
// wanted stream has a listener that accepts one connection of the host; bytes are copied on the
// event loop, and a side that does not take them stops the reading of the other, so nothing is
// buffered without bound. Ends travel exactly: the host's half-close closes the process's stdin
// after the last byte; when the last writer of an output has gone, everything written is sent and
// then the connection half-closed. A connection that breaks closes the pipe: the process sees
// EPIPE.
//
// The pipe of an output grows while the process fills it (F_SETPIPE_SZ), for fewer changes between
// the two: the only thing that a process may see of it.
//
// A terminal is copied in the same way: its output ends when nobody holds it open any more, and the
// end of its streams here hangs it up.
#pragma once

#include <array>
#include <memory>

#include "agent/sandbox/event_loop.h"
#include "agent/sandbox/stream_listener.h"
#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::container {

struct StdioWanted {
  bool in = false;
  bool out = false;
  bool err = false;
};

/// 0 where the stream is not wanted.
struct StdioPorts {
  uint32_t in = 0;
  uint32_t out = 0;
  uint32_t err = 0;
};

class Stream;

/// Methods may be called from any thread, one at a time.
class Stdio {
 public:
  /// `loop` outlives the object.
  static Result<Stdio> open(sandbox::EventLoop& loop, sandbox::ListenerFactory& listeners,
                            StdioWanted wanted);
  /// For a process with a terminal, whose master this is: one stream in each direction, none for
  /// stderr. The end of the host's input ends nothing but that stream. An output that is not wanted
  /// is read and dropped, so that it does not hold the process up.
  static Result<Stdio> open_terminal(sandbox::EventLoop& loop, sandbox::ListenerFactory& listeners,
                                     StdioWanted wanted, UniqueFd master);
  Stdio(Stdio&&) = default;
  Stdio& operator=(Stdio&&) = default;
  /// close(), unless the process has ended.
  ~Stdio();

  const StdioPorts& ports() const { return ports_; }
  /// The process's ends, /dev/null where a stream is not wanted; valid until close_child_ends().
  std::array<int, 3> child_ends() const;
  /// The agent's copies of the process's ends: while they are open, no output ever ends.
  void close_child_ends();

  /// In characters. FailedPrecondition: there is no terminal.
  Status resize(uint16_t columns, uint16_t rows);

  /// Its stdin and listeners to which the host has not connected are closed; outputs go on until
  /// their writers are gone and their last byte is sent, also after the destruction of this object.
  void process_ended();
  /// Ends all streams at once.
  void close();

 private:
  explicit Stdio(sandbox::EventLoop& loop) : loop_(&loop) {}

  /// Starts the stream that connects `ours`, an end of a pipe or a terminal, with the host.
  Result<uint32_t> add(size_t index, UniqueFd ours, sandbox::ListenerFactory* listeners);

  sandbox::EventLoop* loop_;
  StdioPorts ports_;
  std::array<UniqueFd, 3> child_ends_;
  std::array<std::shared_ptr<Stream>, 3> streams_;
  UniqueFd terminal_;  // master
  bool process_ended_ = false;
};

}  // namespace kata::container
