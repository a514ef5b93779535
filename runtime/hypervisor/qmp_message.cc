#include "runtime/hypervisor/qmp_message.h"

namespace kata::hypervisor {
namespace {

using nlohmann::json;

/// How much of an unintelligible line an error may show.
constexpr size_t kShownBytes = 80;

std::unexpected<Error> not_qmp(std::string_view line) {
  std::string shown(line.substr(0, kShownBytes));
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  return fail(Code::kInvalidArgument, "QEMU's monitor sent what is no QMP message: '{}'", shown);
}

std::string string_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Code code_of_class(std::string_view error_class) {
  if (error_class == "CommandNotFound") return Code::kUnimplemented;
  if (error_class == "DeviceNotFound") return Code::kNotFound;
  if (error_class == "DeviceNotActive") return Code::kFailedPrecondition;
  return Code::kInternal;
}

QmpGreeting parse_greeting(const json& greeting) {
  // {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, …}}}; only shown to people.
  static const json::json_pointer kVersion("/version/qemu");
  if (!greeting.is_object() || !greeting.contains(kVersion)) return {};
  const json& version = greeting.at(kVersion);
  std::string text;
  for (const char* part : {"major", "minor", "micro"}) {
    if (!version.is_object() || !version.contains(part)) return {};
    if (!text.empty()) text += '.';
    text += version.at(part).dump();
  }
  return {.qemu_version = text};
}

Result<QmpMessage> parse_line(std::string_view line) {
  const auto bounded_depth = [](int depth, json::parse_event_t, json&) {
    return depth < QmpParser::kMaxDepth;
  };
  json message = json::parse(line, bounded_depth, /*allow_exceptions=*/false);
  if (!message.is_object()) return not_qmp(line);
  if (const auto greeting = message.find("QMP"); greeting != message.end())
    return parse_greeting(*greeting);
  if (const auto event = message.find("event"); event != message.end() && event->is_string()) {
    const auto data = message.find("data");
    return QmpEvent{.name = event->get<std::string>(),
                    .data = data != message.end() ? std::move(*data) : json::object()};
  }
  // An error without an id answers a line that QEMU could not parse: we never send one.
  const auto id = message.find("id");
  if (id == message.end() || !id->is_number_unsigned()) return not_qmp(line);
  const uint64_t number = id->get<uint64_t>();
  if (const auto result = message.find("return"); result != message.end())
    return QmpReply{.id = number, .result = std::move(*result)};
  const auto error = message.find("error");
  if (error == message.end() || !error->is_object()) return not_qmp(line);
  return QmpReply{.id = number,
                  .result = fail(code_of_class(string_at(*error, "class")), "QEMU: {}",
                                 string_at(*error, "desc"))};
}

}  // namespace

Result<std::vector<QmpMessage>> QmpParser::feed(std::string_view bytes) {
  std::vector<QmpMessage> messages;
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    if (partial_line_.size() + piece.size() > kMaxLineBytes)
      return fail(Code::kInvalidArgument, "QEMU's monitor sent a line of more than {} bytes",
                  kMaxLineBytes);
    partial_line_ += piece;
    if (end == std::string_view::npos) break;
    bytes.remove_prefix(end + 1);
    if (!partial_line_.empty() && partial_line_.back() == '\r') partial_line_.pop_back();
    if (!partial_line_.empty()) {
      KATA_TRY(QmpMessage message, parse_line(partial_line_));
      messages.push_back(std::move(message));
    }
    partial_line_.clear();
  }
  return messages;
}

}  // namespace kata::hypervisor
