// In the place of kata-agent as a container's init: says over the sync socket what an init says,
// and then is the program. What the real one does needs rights that the fuzzer has not, and its
// input has passed the parser by then. A program of its own, static and without sanitizers: there
// are hundreds a second.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/container/spawn.h"
#include "agent/container/sync.h"

namespace kata::container {
namespace {

struct Header {
  MessageType type;
  uint32_t size;
};

std::string receive() {
  Header header{};
  if (::recv(kSyncDescriptor, &header, sizeof header, MSG_WAITALL) != sizeof header) _exit(1);
  std::string body(header.size, '\0');
  if (body.empty()) return body;  // the kernel would wait for a byte
  const ssize_t got = ::recv(kSyncDescriptor, body.data(), body.size(), MSG_WAITALL);
  if (got != static_cast<ssize_t>(body.size())) _exit(1);
  return body;
}

void send(MessageType type, std::string body, int descriptor = -1) {
  Header header{type, static_cast<uint32_t>(body.size())};
  iovec parts[] = {{&header, sizeof header}, {body.data(), body.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptor)] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    *rights = {CMSG_LEN(sizeof descriptor), SOL_SOCKET, SCM_RIGHTS};
    std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  }
  if (::sendmsg(kSyncDescriptor, &message, MSG_NOSIGNAL) < 0) _exit(1);
}

/// The JSON stands at the end of a configuration and is what has most braces there.
nlohmann::json process_of(const std::string& config) {
  for (size_t at = config.find('{'); at != std::string::npos; at = config.find('{', at + 1)) {
    auto json = nlohmann::json::parse(config.substr(at), nullptr, false);
    if (json.is_discarded()) continue;
    return json.contains("process") && json["process"].is_object() ? json["process"] : json;
  }
  return nlohmann::json::object();
}

std::string program_of(const nlohmann::json& process) {
  auto args = process.find("args");
  if (args == process.end() || args->empty() || !args->front().is_string()) return "";
  return args->front();
}

int open_terminal() {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) return -1;
  const int slave = ::open(::ptsname(master), O_RDWR);
  for (int fd : {0, 1, 2}) ::dup2(slave, fd);
  ::close(slave);
  return master;
}

void send_error(const char* text) {
  const int32_t code = static_cast<int32_t>(Code::kNotFound);
  send(MessageType::kError, std::string(reinterpret_cast<const char*>(&code), sizeof code) + text);
  _exit(255);
}

[[noreturn]] void be(const std::string& program) {
  char buffer[4096] = {};
  if (program == "false") _exit(1);
  if (program == "true") _exit(0);
  if (program == "yes")
    for (int i = 0; i < 64 && ::write(1, buffer, sizeof buffer) > 0; ++i) continue;
  if (program == "cat")
    for (ssize_t got; (got = ::read(0, buffer, sizeof buffer)) > 0;)
      if (::write(1, buffer, static_cast<size_t>(got)) < 0) _exit(1);
  if (program == "orphan" && ::fork() != 0) _exit(0);
  if (program == "yes" || program == "cat") _exit(0);
  for (;;) ::pause();
}

}  // namespace
}  // namespace kata::container

int main() {
  using namespace kata::container;
  const auto process = process_of(receive());
  const std::string program = program_of(process);
  if (program == "gone") _exit(7);
  if (program == "refused") send_error("executable file not found in $PATH");
  int master = -1;
  if (auto terminal = process.find("terminal"); terminal != process.end() && *terminal == true) {
    master = open_terminal();
    if (master < 0) send_error("no terminal");
  }
  send(MessageType::kCreated, "", master);
  if (master >= 0) ::close(master);
  (void)receive();
  send(MessageType::kExecuting, "");
  if (program == "failed") send_error("exec: permission denied");
  ::close(kSyncDescriptor);
  be(program);
}
