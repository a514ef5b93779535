#include <array>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/oci/parse.h"
#include "tests/fuzz/mutation.h"

namespace kata::fuzz {
namespace {

using nlohmann::json;

/// One that is nested deeper would be written recursively.
json parse(std::string_view text) {
  if (!oci::check_bounds(text, "")) return json::value_t::discarded;
  return json::parse(text, nullptr, /*allow_exceptions=*/false);
}

std::string dump(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

struct Place {
  json::json_pointer pointer;
  json* value;
};

void collect(json& value, const json::json_pointer& pointer, std::vector<Place>& places) {
  places.push_back({pointer, &value});
  if (value.is_object()) {
    for (auto& [key, member] : value.items()) collect(member, pointer / key, places);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) collect(value[i], pointer / i, places);
  }
}

std::vector<Place> places_of(json& document) {
  std::vector<Place> places;
  collect(document, json::json_pointer(), places);
  return places;
}

json special_number(Random& random) {
  static const std::array<json, 16> kNumbers = {
      0,           1,         -1,        2,          1000, INT32_MAX, INT32_MIN, UINT32_MAX,
      1ULL << 32U, INT64_MAX, INT64_MIN, UINT64_MAX, 0.5,  1e300,     65536,     -1000};
  return kNumbers[random.below(kNumbers.size())];
}

json special_value(Random& random) {
  static const std::array<json, 12> kValues = {nullptr,       true, false, json::object(),
                                               json::array(), "",   "/",   "../..",
                                               "/proc/self",  "\n", "max", std::string("a\0b", 3)};
  if (random.one_in(3)) return special_number(random);
  return kValues[random.below(kValues.size())];
}

void change_object(json& object, Random& random) {
  if (object.empty()) {
    object["process"] = special_value(random);
    return;
  }
  auto member = std::next(object.begin(), static_cast<ptrdiff_t>(random.below(object.size())));
  if (random.one_in(2)) {
    object.erase(member);
    return;
  }
  json value = *member;
  std::string key = mutate_bytes(member.key(), random);
  object[key] = std::move(value);
}

void change_array(json& array, Random& random) {
  if (array.empty()) {
    array.push_back(special_value(random));
    return;
  }
  const size_t at = random.below(array.size());
  json element = array[at];
  switch (random.below(3)) {
    case 0:
      array.erase(at);
      break;
    case 1:
      for (size_t copies = 1 + random.below(8); copies > 0; --copies) array.push_back(element);
      break;
    default:
      std::swap(array[at], array[random.below(array.size())]);
      break;
  }
}

void change_value(json& value, Random& random) {
  if (random.one_in(6)) {
    value = special_value(random);
  } else if (value.is_object()) {
    change_object(value, random);
  } else if (value.is_array()) {
    change_array(value, random);
  } else if (value.is_string()) {
    value = mutate_bytes(value.get_ref<const std::string&>(), random);
  } else if (value.is_boolean()) {
    value = !value.get<bool>();
  } else if (value.is_number_integer() && random.one_in(2)) {
    value = value.get<uint64_t>() + random.below(9) - 4;
  } else {
    value = special_number(random);
  }
}

}  // namespace

std::string mutate_json(std::string_view text, Random& random) {
  json document = parse(text);
  if (document.is_discarded() || random.one_in(12)) return mutate_bytes(text, random);
  for (size_t changes = 1 + random.below(3); changes > 0; --changes) {
    auto places = places_of(document);
    const Place& place = places[random.below(places.size())];
    if (random.one_in(8)) {
      const json other = *places[random.below(places.size())].value;
      *place.value = other;
    } else {
      change_value(*place.value, random);
    }
  }
  return dump(document);
}

std::string cross_json(std::string_view text, std::string_view other, Random& random) {
  json document = parse(text);
  json donor = parse(other);
  if (document.is_discarded() || donor.is_discarded()) return mutate_json(text, random);
  auto gifts = places_of(donor);
  const Place& gift = gifts[random.below(gifts.size())];
  // At the same place, with all that is missing on the way, or at any.
  if (random.one_in(4)) {
    auto places = places_of(document);
    *places[random.below(places.size())].value = *gift.value;
    return dump(document);
  }
  try {
    document[gift.pointer] = *gift.value;
  } catch (const json::exception&) {  // a place within a number, or behind an array's end
    document = *gift.value;
  }
  return dump(document);
}

}  // namespace kata::fuzz
