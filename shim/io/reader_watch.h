// What the readers of fifos do: inotify(7), because a pipe has no event for "a reader came" or for
// "emptied". All of it is for the copier's thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include <sys/inotify.h>

#include "common/sys/event.h"
#include "shim/io/descriptor.h"

namespace kata::io {

/// Events of one fifo: IN_OPEN, IN_ACCESS, IN_CLOSE_NOWRITE; what this process does counts too. The
/// fifo's name may go meanwhile.
class ReaderWatch {
 public:
  /// ResourceExhausted: the user's inotify instances or watches are used up (fs.inotify.*).
  static Result<std::unique_ptr<ReaderWatch>> start(int fifo, uint32_t events);
  ~ReaderWatch() { close(); }

  /// Watches for `events` too.
  Status add(int fifo, uint32_t events);

  /// What has happened since the last call, without waiting.
  uint32_t take();

  /// Waits for the next events; 0 when the watch has been closed.
  asio::awaitable<uint32_t> next();

  /// Safe to repeat.
  void close();

 private:
  friend class ReaderWatcher;
  ReaderWatch();

  int id_ = -1;
  uint32_t wanted_ = 0;
  uint32_t happened_ = 0;
  sys::Event changed_;
};

/// The copier's one inotify instance, opened when it is first needed: users have few of them, and
/// the kernel takes milliseconds to end one.
class ReaderWatcher {
 private:
  friend class ReaderWatch;

  Status open();
  Result<int> add(int fifo, uint32_t events);
  void remove(ReaderWatch* watch);
  void read_events();
  asio::awaitable<void> run();

  std::optional<Descriptor> inotify_;
  /// By inotify's watch descriptor: streams that share a fifo share it.
  std::multimap<int, ReaderWatch*> watches_;
};

}  // namespace kata::io
