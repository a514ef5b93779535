// containerd-shim-kata-v2: the runtime that containerd knows as io.containerd.kata.v2.
#include <cerrno>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "shim/command/command_line.h"
#include "shim/command/delete.h"
#include "shim/command/input.h"
#include "shim/command/serve.h"
#include "shim/command/start.h"
#include "shim/service/runtime_features.h"

namespace kata::command {
namespace {

constexpr std::string_view kRuntimeName = "io.containerd.kata.v2";

/// containerd reads stdout and stderr of `start` as one: nothing else may ever be written there.
Status print_text(std::string_view text) {
  while (!text.empty()) {
    ssize_t count = write(STDOUT_FILENO, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("write to stdout");
    text.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

Status print(const Result<std::string>& text) {
  if (!text) return std::unexpected(text.error());
  return print_text(*text);
}

Result<std::string> runtime_info() {
  KATA_TRY(std::string input, read_input(STDIN_FILENO));
  return service::encode_runtime_info(kRuntimeName, KATA_VERSION, input);
}

Status run(const std::vector<std::string>& arguments) {
  KATA_TRY(CommandLine line, parse_command_line(arguments));
  switch (line.action) {
    case Action::kVersion:
      return print_text(fmt::format("containerd-shim-kata-v2:\n  Version:  {}\n", KATA_VERSION));
    case Action::kInfo:
      return print(runtime_info());
    case Action::kStart:
      return print(start(line));
    case Action::kDelete:
      return print(delete_leftovers(line));
    case Action::kServe:
      return serve(line);
  }
  return {};
}

}  // namespace
}  // namespace kata::command

int main(int argc, char** argv) {
  kata::Status done = kata::command::run({argv + 1, argv + argc});
  if (done) return 0;
  // The form in which containerd's own shims report: it becomes part of the client's message.
  std::fprintf(stderr, "%s: %s", kata::command::kRuntimeName.data(),
               done.error().message().c_str());
  return 1;
}
