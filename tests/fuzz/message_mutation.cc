#include <algorithm>
#include <numeric>
#include <vector>

#include <google/protobuf/unknown_field_set.h>

#include "tests/fuzz/mutation.h"

namespace kata::fuzz {
namespace {

// Every message is a set of unknown fields to who knows no type: no reflection is needed, which
// agent.proto (LITE_RUNTIME) has not.
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

constexpr int kMaxDepth = 6;
/// More than the largest field number of agent.proto and session.proto.
constexpr size_t kFieldNumbers = 24;

std::string mutate_set(UnknownFieldSet& fields, Random& random, int depth);

bool parse(std::string_view bytes, UnknownFieldSet& out) {
  return out.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

std::string serialize(const UnknownFieldSet& fields) {
  std::string out;
  fields.SerializeToString(&out);
  return out;
}

/// The fields of `from` in this order.
std::string arranged(const UnknownFieldSet& from, const std::vector<int>& order) {
  UnknownFieldSet out;
  for (int index : order) out.AddField(from.field(index));
  return serialize(out);
}

uint64_t special_number(uint64_t before, Random& random) {
  constexpr uint64_t kNumbers[] = {0,   1,     2,     9,         15,         64,        65,
                                   255, 65535, 65536, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
  if (random.one_in(3)) return before + random.below(5) - 2;
  return kNumbers[random.below(std::size(kNumbers))];
}

std::string mutate_content(const std::string& content, Random& random, int depth) {
  if (content.starts_with('{')) return mutate_json(content, random);
  UnknownFieldSet inner;
  // Short text is often a message by chance, and mutated as one then: not always.
  if (depth < kMaxDepth && !content.empty() && parse(content, inner) && !random.one_in(8))
    return mutate_set(inner, random, depth + 1);
  return mutate_bytes(content, random);
}

void change_field(UnknownField& field, Random& random, int depth) {
  switch (field.type()) {
    case UnknownField::TYPE_VARINT:
      field.set_varint(special_number(field.varint(), random));
      break;
    case UnknownField::TYPE_FIXED32:
      field.set_fixed32(static_cast<uint32_t>(special_number(field.fixed32(), random)));
      break;
    case UnknownField::TYPE_FIXED64:
      field.set_fixed64(special_number(field.fixed64(), random));
      break;
    case UnknownField::TYPE_LENGTH_DELIMITED:
      field.set_length_delimited(mutate_content(field.length_delimited(), random, depth));
      break;
    case UnknownField::TYPE_GROUP:
      break;
  }
}

/// The same content under another number: another request, another field.
std::string renumbered(const UnknownFieldSet& from, int index, int number) {
  UnknownFieldSet out;
  for (int i = 0; i < from.field_count(); ++i) {
    const UnknownField& field = from.field(i);
    if (i != index)
      out.AddField(field);
    else if (field.type() == UnknownField::TYPE_LENGTH_DELIMITED)
      out.AddLengthDelimited(number, field.length_delimited());
    else if (field.type() == UnknownField::TYPE_VARINT)
      out.AddVarint(number, field.varint());
  }
  return serialize(out);
}

void add_field(UnknownFieldSet& fields, Random& random) {
  const auto number = static_cast<int>(1 + random.below(kFieldNumbers));
  if (random.one_in(2))
    fields.AddVarint(number, special_number(1, random));
  else
    fields.AddLengthDelimited(number, mutate_bytes("c1", random));
}

std::string mutate_set(UnknownFieldSet& fields, Random& random, int depth) {
  const int count = fields.field_count();
  std::vector<int> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  const size_t at = random.below(order.size());
  switch (count == 0 ? 0 : random.below(12)) {
    case 0:
      add_field(fields, random);
      return serialize(fields);
    case 1:
      order.erase(order.begin() + static_cast<ptrdiff_t>(at));
      return arranged(fields, order);
    case 2:
      order.insert(order.begin() + static_cast<ptrdiff_t>(random.below(order.size())), order[at]);
      return arranged(fields, order);
    case 3:
      std::swap(order[at], order[random.below(order.size())]);
      return arranged(fields, order);
    case 4:
      return renumbered(fields, static_cast<int>(at),
                        static_cast<int>(1 + random.below(kFieldNumbers)));
    default:
      change_field(*fields.mutable_field(static_cast<int>(at)), random, depth);
      return serialize(fields);
  }
}

}  // namespace

std::string mutate_message(std::string_view bytes, Random& random) {
  UnknownFieldSet fields;
  if (!parse(bytes, fields) || random.one_in(40)) return mutate_bytes(bytes, random);
  std::string out = mutate_set(fields, random, 0);
  // Two or three changes at once now and then: a call needs what comes before it.
  while (random.one_in(3)) {
    UnknownFieldSet again;
    if (!parse(out, again)) break;
    out = mutate_set(again, random, 0);
  }
  return out;
}

std::string cross_message(std::string_view bytes, std::string_view other, Random& random) {
  UnknownFieldSet ours;
  UnknownFieldSet theirs;
  if (!parse(bytes, ours) || !parse(other, theirs) || theirs.empty())
    return mutate_message(bytes, random);
  const auto cut = static_cast<int>(random.below(static_cast<size_t>(ours.field_count()) + 1));
  const auto from = static_cast<int>(random.below(static_cast<size_t>(theirs.field_count())));
  const auto to = std::min(theirs.field_count(), from + 1 + static_cast<int>(random.below(4)));
  UnknownFieldSet out;
  for (int i = 0; i < cut; ++i) out.AddField(ours.field(i));
  for (int i = from; i < to; ++i) out.AddField(theirs.field(i));
  for (int i = cut; i < ours.field_count(); ++i) out.AddField(ours.field(i));
  return serialize(out);
}

}  // namespace kata::fuzz
