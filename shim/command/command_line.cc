#include "shim/command/command_line.h"

#include <map>
#include <string_view>

#include "common/base/id.h"

namespace kata::command {
namespace {

/// Where the values of the flags go.
struct Flags {
  std::map<std::string_view, std::string*> texts;
  std::map<std::string_view, bool*> switches;
};

// As Go's strconv.ParseBool.
Result<bool> parse_bool(std::string_view flag, std::string_view value) {
  for (std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"})
    if (value == yes) return true;
  for (std::string_view no : {"0", "f", "F", "false", "FALSE", "False"})
    if (value == no) return false;
  return fail(Code::kInvalidArgument, "-{}: \"{}\" is neither true nor false", flag, value);
}

/// Takes the flag at the front of `rest` and its value off.
Status take_flag(const Flags& flags, std::span<const std::string>& rest) {
  std::string_view name = rest.front();
  rest = rest.subspan(1);
  name.remove_prefix(name.starts_with("--") ? 2 : 1);
  size_t equals = name.find('=');
  bool has_value = equals != std::string_view::npos;
  std::string_view value = has_value ? name.substr(equals + 1) : std::string_view();
  name = name.substr(0, equals);

  if (auto found = flags.switches.find(name); found != flags.switches.end()) {
    KATA_TRY(*found->second, parse_bool(name, has_value ? value : "true"));
    return {};
  }
  auto found = flags.texts.find(name);
  if (found == flags.texts.end())
    return fail(Code::kInvalidArgument, "flag provided but not defined: -{}", name);
  if (!has_value) {
    if (rest.empty()) return fail(Code::kInvalidArgument, "flag needs an argument: -{}", name);
    value = rest.front();
    rest = rest.subspan(1);
  }
  *found->second = value;
  return {};
}

Result<Action> action_of(std::string_view word) {
  if (word.empty() || word == "serve") return Action::kServe;
  if (word == "start") return Action::kStart;
  if (word == "delete") return Action::kDelete;
  return fail(Code::kInvalidArgument, "unknown action \"{}\": start, delete or none", word);
}

}  // namespace

Result<CommandLine> parse_command_line(std::span<const std::string> arguments) {
  CommandLine line;
  std::string ignored;
  bool version = false;
  bool info = false;
  Flags flags{.texts = {{"namespace", &line.nspace},
                        {"id", &line.id},
                        {"address", &line.address},
                        {"bundle", &line.bundle},
                        {"socket", &line.socket},
                        {"config", &line.config},
                        {"publish-binary", &ignored}},
              .switches = {{"debug", &line.debug}, {"v", &version}, {"info", &info}}};
  while (!arguments.empty() && arguments.front().starts_with('-')) {
    if (arguments.front() == "--" || arguments.front() == "-") break;
    KATA_CHECK(take_flag(flags, arguments));
  }
  if (version || info) {
    line.action = version ? Action::kVersion : Action::kInfo;
    return line;
  }
  std::string word = arguments.empty() ? "" : arguments.front();
  KATA_TRY(line.action, action_of(word));
  KATA_CHECK(validate_id("-namespace", line.nspace));
  KATA_CHECK(validate_id("-id", line.id));
  return line;
}

}  // namespace kata::command
