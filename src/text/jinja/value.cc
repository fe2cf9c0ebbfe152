#include "text/jinja/value.h"

#include <algorithm>

namespace conclave::text::jinja {

Value Value::integer(const BigInt& value) {
  if (const auto small = value.to_int64()) return integer(*small);
  auto object = std::make_shared<BigIntObject>();
  object->value = value;
  return {Kind::kBigInt, std::move(object)};
}

Value Value::real(double value) {
  Value out;
  out.kind_ = Kind::kFloat;
  out.number_.real = value;
  return out;
}

Value Value::string(MarkedText text, bool markup) {
  auto object = std::make_shared<StringObject>();
  object->text = std::move(text);
  const std::string& bytes = object->text.bytes();
  object->length = static_cast<std::size_t>(
      std::count_if(bytes.begin(), bytes.end(), [](char c) { return (c & 0xc0) != 0x80; }));
  object->markup = markup;
  return {Kind::kString, std::move(object)};
}

Value Value::sequence(Kind kind, std::vector<Value> items) {
  auto object = std::make_shared<SequenceObject>();
  for (const Value& item : items) object->depth = std::max(object->depth, item.depth());
  ++object->depth;
  object->items = std::move(items);
  return {kind, std::move(object)};
}

Value Value::dict(std::shared_ptr<DictObject> entries) {
  for (const auto& [key, value] : entries->entries) {
    entries->depth = std::max({entries->depth, key.depth() + 1, value.depth() + 1});
  }
  entries->depth = std::max(entries->depth, 1);
  return {Kind::kDict, std::move(entries)};
}

const Value* DictObject::find(std::string_view key) const {
  const auto [begin, end] = index.equal_range(std::hash<std::string_view>{}(key));
  for (auto at = begin; at != end; ++at) {
    const auto& [name, value] = entries[at->second];
    if (name.is_string() && name.bytes() == key) return &value;
  }
  return nullptr;
}

Value* NamespaceObject::find(std::string_view name) {
  for (auto& [key, value] : attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

void NamespaceObject::set(std::string_view name, Value value) {
  if (Value* const place = find(name)) {
    *place = std::move(value);
  } else {
    attributes.emplace_back(name, std::move(value));
  }
}

}  // namespace conclave::text::jinja
