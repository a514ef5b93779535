// Reading JSON into plain structs, with errors that name the place (internal to common/oci).
//
// A struct is read by an overload `void read(JsonReader&, T&)` that calls optional()/required() per
// key. The first failure is kept and everything after it is a no-op, so readers need no checks of
// their own between keys; whoever made the root asks error() at the end.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error/error.h"

namespace kata::oci {

/// One JSON value and its way from the root. Children refer to their parent and live shorter.
class JsonReader {
 public:
  JsonReader(const nlohmann::json& value, std::optional<Error>& error)
      : value_(value), error_(error) {}
  JsonReader(const JsonReader&) = delete;
  JsonReader& operator=(const JsonReader&) = delete;

  /// "process.rlimits[2].type"
  std::string path() const;

  /// Keeps the first failure: "<path>: <message>".
  template <typename... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    if (failed()) return;
    error_ = Error(Code::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
    if (auto place = path(); !place.empty()) error_ = error_->with_stage(place);
  }
  bool failed() const { return error_.has_value(); }

  /// Reads the key if it is there and not null.
  template <typename T>
  void optional(const char* key, T& out) {
    if (const auto* member = find(key)) {
      JsonReader child(*this, key, *member);
      read(child, out);
    }
  }
  template <typename T>
  void required(const char* key, T& out) {
    if (find(key)) return optional(key, out);
    fail_at(key, "missing");
  }
  /// A string that must be one of `known`.
  void optional_enum(const char* key, std::string& out, std::span<const std::string_view> known);
  void required_enum(const char* key, std::string& out, std::span<const std::string_view> known);
  /// The same for every element of an array.
  void optional_enums(const char* key, std::vector<std::string>& out,
                      std::span<const std::string_view> known);
  /// Fails at the key, with the key's path.
  template <typename... Args>
  void fail_at(const char* key, fmt::format_string<Args...> format, Args&&... args) {
    JsonReader child(*this, key, value_);
    child.fail(format, std::forward<Args>(args)...);
  }
  bool has(const char* key) const {
    return value_.is_object() && value_.contains(key) && !value_.at(key).is_null();
  }

  friend void read(JsonReader& in, bool& out);
  friend void read(JsonReader& in, std::string& out);

  template <std::integral T>
  friend void read(JsonReader& in, T& out) {
    using Limits = std::numeric_limits<T>;
    const auto& value = in.value_;
    if (!in.expect(value.is_number_integer(), "an integer")) return;
    bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<uint64_t>())
                                           : std::in_range<T>(value.get<int64_t>());
    if (!fits)
      return in.fail("{} is out of range ({} to {})", value.dump(), Limits::min(), Limits::max());
    out = value.get<T>();
  }

  template <typename T>
  friend void read(JsonReader& in, std::optional<T>& out) {
    T value{};
    read(in, value);
    if (!in.failed()) out = std::move(value);
  }

  template <typename T>
  friend void read(JsonReader& in, std::vector<T>& out) {
    if (!in.expect(in.value_.is_array(), "an array")) return;
    out.reserve(in.value_.size());
    for (size_t i = 0; i < in.value_.size() && !in.failed(); ++i) {
      JsonReader child(in, i, in.value_[i]);
      read(child, out.emplace_back());
    }
  }

  template <typename T>
  friend void read(JsonReader& in, std::map<std::string, T>& out) {
    if (!in.expect(in.value_.is_object(), "an object")) return;
    for (auto member = in.value_.begin(); member != in.value_.end() && !in.failed(); ++member) {
      JsonReader child(in, member.key().c_str(), member.value());
      if (member.key().find('\0') != std::string::npos) return child.fail("key with a NUL byte");
      read(child, out[member.key()]);
    }
  }

 private:
  JsonReader(const JsonReader& parent, const char* key, const nlohmann::json& value)
      : value_(value), error_(parent.error_), parent_(&parent), key_(key) {}
  JsonReader(const JsonReader& parent, size_t index, const nlohmann::json& value)
      : value_(value), error_(parent.error_), parent_(&parent), index_(index) {}

  const nlohmann::json* find(const char* key);
  bool expect(bool holds, std::string_view type);

  const nlohmann::json& value_;
  std::optional<Error>& error_;
  const JsonReader* parent_ = nullptr;
  const char* key_ = nullptr;
  size_t index_ = 0;
};

/// Text of a user for an error message: quoted, control characters escaped, at most 64 bytes of it.
std::string quote(std::string_view text);

}  // namespace kata::oci
