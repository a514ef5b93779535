#include "common/oci/json_reader.h"

#include <algorithm>

namespace kata::oci {

namespace {

/// Long enough for every name of the specification.
constexpr size_t kMaxQuotedBytes = 64;

void check_known(JsonReader& in, const std::string& value,
                 std::span<const std::string_view> known) {
  if (!in.failed() && std::ranges::find(known, value) == known.end())
    in.fail("unknown value {}", quote(value));
}

}  // namespace

std::string quote(std::string_view text) {
  bool cut = text.size() > kMaxQuotedBytes;
  std::string out = "\"";
  for (unsigned char c : text.substr(0, kMaxQuotedBytes)) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += static_cast<char>(c);
    }
  }
  out += '"';
  if (cut) out += "...";
  return out;
}

std::string JsonReader::path() const {
  if (!parent_) return "";
  std::string prefix = parent_->path();
  if (!key_) return fmt::format("{}[{}]", prefix, index_);
  // Annotation and sysctl keys are the user's own text.
  std::string_view key = key_;
  bool plain =
      !key.empty() && std::ranges::all_of(key, [](unsigned char c) { return std::isalnum(c); });
  if (!plain) return fmt::format("{}[{}]", prefix, quote(key));
  return prefix.empty() ? std::string(key) : fmt::format("{}.{}", prefix, key);
}

const nlohmann::json* JsonReader::find(const char* key) {
  if (failed() || !expect(value_.is_object(), "an object")) return nullptr;
  auto member = value_.find(key);
  return member == value_.end() || member->is_null() ? nullptr : &*member;
}

bool JsonReader::expect(bool holds, std::string_view type) {
  if (!holds) fail("expected {}, found {}", type, value_.type_name());
  return holds;
}

void read(JsonReader& in, bool& out) {
  if (in.expect(in.value_.is_boolean(), "a boolean")) out = in.value_.get<bool>();
}

void read(JsonReader& in, std::string& out) {
  if (!in.expect(in.value_.is_string(), "a string")) return;
  const auto& text = in.value_.get_ref<const std::string&>();
  // The kernel would cut it there, behind the back of every check.
  if (text.find('\0') != std::string::npos) return in.fail("string with a NUL byte");
  out = text;
}

void JsonReader::optional_enum(const char* key, std::string& out,
                               std::span<const std::string_view> known) {
  if (const auto* member = find(key)) {
    JsonReader child(*this, key, *member);
    read(child, out);
    check_known(child, out, known);
  }
}

void JsonReader::required_enum(const char* key, std::string& out,
                               std::span<const std::string_view> known) {
  required(key, out);
  if (!failed()) optional_enum(key, out, known);
}

void JsonReader::optional_enums(const char* key, std::vector<std::string>& out,
                                std::span<const std::string_view> known) {
  optional(key, out);
  for (size_t i = 0; i < out.size() && !failed(); ++i) {
    JsonReader array(*this, key, value_);
    JsonReader element(array, i, value_);
    check_known(element, out[i], known);
  }
}

}  // namespace kata::oci
