// One output stream of a process on its way from the guest to the client.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/base/unique_fd.h"
#include "shim/io/descriptor.h"
#include "shim/io/sink.h"

namespace kata::io {

/// Copies until the guest ends its stream, then finishes the sink. Keeps itself alive meanwhile. It
/// happens on the copier's thread; start() and cancel() may be called on any.
class OutputCopy : public std::enable_shared_from_this<OutputCopy> {
 public:
  /// `name` and `id` are for the log. `on_end` is called once, on the copier's thread, when
  /// everything is closed.
  OutputCopy(std::string name, std::string id, UniqueFd source, std::unique_ptr<Sink> sink,
             std::function<void()> on_end);

  void start();
  /// See Sink::process_ended().
  void process_ended();
  void cancel();

 private:
  asio::awaitable<void> run();
  Status open();
  asio::awaitable<bool> copy();
  void log_failure(std::string_view cause);

  const std::string name_;
  const std::string id_;
  UniqueFd guest_;  // until open()
  Descriptor source_;
  std::unique_ptr<Sink> sink_;
  std::function<void()> on_end_;
};

}  // namespace kata::io
