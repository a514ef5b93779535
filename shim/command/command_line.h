// The command line that containerd gives a shim (runtime/v2/README.md, "Shim API"), in the syntax
// of Go's flag package: "-flag value", "-flag=value", one or two dashes, then the action.
#pragma once

#include <span>
#include <string>

#include "common/error/error.h"

namespace kata::command {

enum class Action { kServe, kStart, kDelete, kInfo, kVersion };

struct CommandLine {
  Action action = Action::kServe;
  std::string nspace;   // -namespace: containerd's, required except for kInfo and kVersion
  std::string id;       // -id, likewise
  std::string address;  // -address: containerd's gRPC socket
  std::string bundle;   // -bundle: empty is the working directory
  std::string socket;   // -socket: where to serve; empty is the inherited descriptor
  std::string config;   // -config: the configuration.toml to read; `start` hands it on
  bool debug = false;   // -debug
};

/// `arguments` without the program's name. -publish-binary is taken and ignored: events go over
/// TTRPC_ADDRESS. InvalidArgument names the flag or action that is unknown or not valid.
Result<CommandLine> parse_command_line(std::span<const std::string> arguments);

}  // namespace kata::command
