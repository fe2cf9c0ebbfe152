// Python's operators on values: what they give, and the words of the errors they raise. All throw
// through Runtime: Error(kInvalidArgument) where Python raises, kUnsupported and kOutOfMemory where
// a budget ends.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

// type(v).__name__: "str", "NoneType", ...
std::string_view type_name(const Value& value);
// Why an undefined value is undefined: "'x' is undefined".
std::string undefined_message(Runtime& rt, const Value& value);
[[noreturn]] void undefined_error(Runtime& rt, const Value& value);
// An undefined value that explains itself.
Value undefined_name(std::string_view name);
Value undefined_hint(std::string_view hint);

bool truth(const Value& value);
bool equals(Runtime& rt, const Value& a, const Value& b);
// a < b, a <= b and so on; also ==, !=, in, not in.
bool compare(Runtime& rt, Operator op, const Value& a, const Value& b);
bool less(Runtime& rt, const Value& a, const Value& b);
// Stable, by less() of the keys; `order` are indices of keys. Equal keys keep their order also when
// reversed.
std::vector<std::size_t> sorted_order(Runtime& rt, const std::vector<Value>& keys, bool reverse);
std::size_t hash_value(Runtime& rt, const Value& value);
bool contains(Runtime& rt, const Value& item, const Value& container);

Value arithmetic(Runtime& rt, Operator op, const Value& a, const Value& b);
Value negative(Runtime& rt, const Value& value);
Value positive(Runtime& rt, const Value& value);
BigInt as_big_int(const Value& integer);  // kInt, kBool, kBigInt
double as_double(Runtime& rt, const Value& number);
// A number that has to be a small integer, such as an index or a width; clamped to +-2^62.
std::int64_t as_index(Runtime& rt, const Value& value);

std::size_t length(Runtime& rt, const Value& value);
// All items that a for loop would see. Uses up an iterator.
std::vector<Value> iterate(Runtime& rt, const Value& value);
bool is_iterable(const Value& value);

// The entry, or null.
const Value* dict_find(Runtime& rt, const DictObject& dict, const Value& key);
void dict_set(Runtime& rt, DictObject& dict, const Value& key, const Value& value);

// obj[key] as jinja2 has it: undefined where there is nothing.
Value get_item(Runtime& rt, const Value& object, const Value& key);
// obj.name
Value get_attribute(Runtime& rt, const Value& object, std::string_view name);
// obj[start:stop:step]; a part that is none was left out.
Value get_slice(Runtime& rt, const Value& object, const Value& start, const Value& stop,
                const Value& step);

// Byte offsets of characters: character i of a string is [offset(i), offset(i + 1)).
class CharOffsets {
 public:
  CharOffsets(Runtime& rt, const StringObject& string);
  std::size_t count() const { return count_; }
  std::size_t operator[](std::size_t character) const {
    return offsets_.empty() ? character : offsets_[character];
  }

 private:
  std::size_t count_;
  std::vector<std::size_t> offsets_;  // empty for ASCII
};

}  // namespace conclave::text::jinja
