// Protocol between the agent and a container's init, over a SOCK_STREAM pair of their own.
//
//   agent -> init   kMount      a mount that the agent has made (SCM_RIGHTS), and its index; any
//                               number of them
//   agent -> init   kConfig     what to become
//   init  -> agent  kCreated    everything but execve is done; with the master of the terminal, if
//                               it has one (SCM_RIGHTS)
//   agent -> init   kStart
//   init  -> agent  kExecuting  execve comes next; the end of the stream then means that
//   it worked,
//                               since the init's end is close-on-exec
//   init  -> agent  kError      instead of any of its messages, or after kExecuting: the init exits
//
// A frame is the type and the size of the body, 32 bits each in host order, and the body. Both ends
// are the same binary and run our code only, yet sizes are checked.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/isolation/hooks.h"
#include "common/base/unique_fd.h"
#include "common/error/error.h"

namespace kata::container {

enum class MessageType : uint32_t {
  kConfig = 1,
  kCreated = 2,
  kStart = 3,
  kExecuting = 4,
  kError = 5,
  kMount = 6,
};

struct Message {
  MessageType type = MessageType::kError;
  std::string body;
  UniqueFd descriptor;  // that came with it
};

struct InitConfig {
  std::string rootfs;            // of a container's init; empty for an exec
  std::string json;              // the init's config.json, or the exec's process
  std::string filter;            // isolation::compile_filter's; empty: none
  std::string personality = {};  // of an exec's container, its domain; empty: the usual
  int namespaces = 0;            // isolation::rarer_namespaces of the container
  isolation::ContainerInfo container = {};
};

std::string encode_config(const InitConfig& config);
Result<InitConfig> decode_config(std::string_view body);

std::string encode_mount(uint32_t index);
Result<uint32_t> decode_mount(std::string_view body);

std::string encode_error(const Error& error);
/// The error that `body` holds; kInternal if it makes no sense.
Error decode_error(std::string_view body);

/// One end. Blocking; used by one thread at a time.
class SyncSocket {
 public:
  explicit SyncSocket(UniqueFd socket) : socket_(std::move(socket)) {}

  /// How long each further call may wait for the other end; 0 is for ever.
  Status set_timeout(std::chrono::milliseconds timeout);

  /// Unavailable: the other end has gone. DeadlineExceeded: it takes nothing.
  Status send(MessageType type, std::string_view body = {}, int descriptor = -1);
  /// Empty: the other end has closed the stream. DeadlineExceeded: it says nothing.
  Result<std::optional<Message>> receive();

  int descriptor() const { return socket_.get(); }

 private:
  UniqueFd socket_;
};

}  // namespace kata::container
