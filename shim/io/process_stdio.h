// The ProcessIo over client ends that have been found, whatever they are.
#pragma once

#include <memory>
#include <string>

#include "common/sys/event.h"
#include "runtime/sandbox/process_io.h"
#include "shim/io/input_copy.h"
#include "shim/io/open_outputs.h"
#include "shim/io/output_copy.h"

namespace kata::io {

/// Empty ones are not wanted.
struct ClientEnds {
  UniqueFd in;  // handle from find_fifo()
  std::unique_ptr<Sink> out;
  std::unique_ptr<Sink> err;
  /// A terminal has no end of file that closing stdin could give it: it just stays quiet.
  bool terminal = false;
};

/// Used and destroyed on `executor`. Destruction cancels.
class ProcessStdio : public sandbox::ProcessIo {
 public:
  ProcessStdio(const asio::any_io_executor& executor, std::string id, ClientEnds ends);
  ~ProcessStdio() override;

  bool wants_stdin() const override { return wants_in_; }
  bool wants_stdout() const override { return wants_out_; }
  bool wants_stderr() const override { return wants_err_; }
  void attach(sandbox::StdioStreams streams) override;
  Async<void> drained() override;
  void close_stdin() override;
  void process_ended() override;
  void cancel() override;

 private:
  void attach_input(UniqueFd guest, UniqueFd fifo);
  std::shared_ptr<OutputCopy> attach_output(std::string name, UniqueFd guest,
                                            std::unique_ptr<Sink> sink);

  const std::string id_;
  const bool wants_in_;
  const bool wants_out_;
  const bool wants_err_;
  const bool terminal_;
  bool attached_ = false;
  bool stdin_closed_ = false;
  ClientEnds ends_;  // until attach()
  std::shared_ptr<InputCopy> in_;
  std::shared_ptr<OutputCopy> out_;
  std::shared_ptr<OutputCopy> err_;
  sys::Event ended_;
  std::shared_ptr<OpenOutputs> open_outputs_;
};

}  // namespace kata::io
