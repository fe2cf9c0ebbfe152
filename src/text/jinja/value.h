// The values of a template: Python's None, bool, int, float, str, list, tuple, dict and what
// jinja2 adds (undefined, namespace, macros, loops). Values are cheap to copy: scalars are held,
// the rest is shared. Strings, lists, tuples and dicts never change once they are made (jinja2's
// immutable sandbox), so that cycles can only run through the few kinds that do change; those are
// namespaces, which the interpreter empties when it ends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/big_int.h"
#include "text/jinja/marked_text.h"

namespace conclave::text::jinja {

enum class Kind : std::uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,  // 64 bits
  kBigInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kRange,
  kDict,
  kDictView,  // d.keys(), d.values(), d.items()
  kIterator,  // what filters like map give: passes over its items once
  kNamespace,
  kMacro,
  kFunction,  // a global: range, dict, ...
  kMethod,    // a method bound to its object
  kLoop,
  kCycler,
  kJoiner,
};

// Levels of lists in lists that a value may have. Printing, comparing and freeing walk them.
inline constexpr int kMaxValueDepth = 100;

struct Object {
  virtual ~Object() = default;
  int depth = 0;  // 1 + the deepest of what it holds; 0 holds nothing
};

struct StringObject;
struct SequenceObject;
struct DictObject;

class Value {
 public:
  Value() = default;  // undefined without a name
  Value(Kind kind, std::shared_ptr<Object> object) : kind_(kind), object_(std::move(object)) {}

  static Value none() { return scalar(Kind::kNone, 0); }
  static Value boolean(bool value) { return scalar(Kind::kBool, value); }
  static Value integer(std::int64_t value) { return scalar(Kind::kInt, value); }
  static Value integer(const BigInt& value);  // kInt where it fits
  static Value real(double value);
  // The bytes must be UTF-8.
  static Value string(MarkedText text, bool markup = false);
  static Value string(std::string_view bytes, Origin origin) {
    return string(MarkedText(std::string(bytes), origin));
  }
  static Value list(std::vector<Value> items) { return sequence(Kind::kList, std::move(items)); }
  static Value tuple(std::vector<Value> items) { return sequence(Kind::kTuple, std::move(items)); }
  static Value sequence(Kind kind, std::vector<Value> items);
  static Value dict(std::shared_ptr<DictObject> entries);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_integer() const {  // as Python sees it: booleans too
    return kind_ == Kind::kInt || kind_ == Kind::kBool || kind_ == Kind::kBigInt;
  }
  bool is_number() const { return is_integer() || kind_ == Kind::kFloat; }
  bool is_sequence() const {
    return kind_ == Kind::kList || kind_ == Kind::kTuple || kind_ == Kind::kRange;
  }

  // Each only for a value of its kind.
  bool boolean() const { return number_.integer != 0; }
  std::int64_t integer() const { return number_.integer; }  // kInt, kBool
  double real() const { return number_.real; }
  const StringObject& str() const;
  const MarkedText& text() const;
  std::string_view bytes() const { return text().view(); }
  const std::vector<Value>& items() const;  // list, tuple, range
  const DictObject& dict() const;
  template <class T>
  T& as() const {
    return static_cast<T&>(*object_);
  }

  const Object* identity() const { return object_.get(); }
  int depth() const { return object_ ? object_->depth : 0; }

 private:
  static Value scalar(Kind kind, std::int64_t value) {
    Value out;
    out.kind_ = kind;
    out.number_.integer = value;
    return out;
  }

  Kind kind_ = Kind::kUndefined;
  union {
    std::int64_t integer = 0;
    double real;
  } number_;
  std::shared_ptr<Object> object_;
};

struct StringObject final : Object {
  MarkedText text;
  std::size_t length = 0;  // characters
  bool markup = false;     // what |safe and |escape give: + escapes the other side
  bool ascii() const { return length == text.size(); }
};

struct BigIntObject final : Object {
  BigInt value;
};

struct SequenceObject final : Object {
  std::vector<Value> items;
  std::int64_t start = 0, stop = 0, step = 1;  // of a range, as it prints
  bool group = false;  // of |groupby: a tuple with the attributes grouper and list
};

// Keys in the order in which they came. Only hashable keys (hash_value in operators.h).
struct DictObject final : Object {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_multimap<std::size_t, std::size_t> index;  // hash to place in entries

  // Keys that are strings; the general look-up is in operators.h.
  const Value* find(std::string_view key) const;
};

struct DictViewObject final : Object {
  enum class Part { kKeys, kValues, kItems } part = Part::kKeys;
  Value dict;
};

struct IteratorObject final : Object {
  std::vector<Value> items;
  std::size_t next = 0;
};

struct NamespaceObject final : Object {
  std::vector<std::pair<std::string, Value>> attributes;
  Value* find(std::string_view name);
  void set(std::string_view name, Value value);
};

// Why a value is missing; the message is made only when somebody needs it.
struct UndefinedObject final : Object {
  enum class Reason { kName, kAttribute, kHint, kUnsafe } reason = Reason::kName;
  std::string text;      // the name, or the hint
  std::string owner;     // what has no such attribute: "dict object"
  bool element = false;  // looked up by something that is no string
};

enum class Global : std::uint8_t {
  kRange,
  kDict,
  kNamespace,
  kCycler,
  kJoiner,
  kLipsum,
  kRaiseException,
  kStrftimeNow,
};

struct FunctionObject final : Object {
  Global which = Global::kRange;
};

struct MethodObject final : Object {
  Value self;
  std::string name;
};

struct CyclerObject final : Object {
  std::vector<Value> items;
  std::size_t position = 0;
};

struct JoinerObject final : Object {
  Value separator;
  bool used = false;
};

inline const StringObject& Value::str() const { return as<StringObject>(); }
inline const MarkedText& Value::text() const { return str().text; }
inline const std::vector<Value>& Value::items() const { return as<SequenceObject>().items; }
inline const DictObject& Value::dict() const { return as<DictObject>(); }

// Positional and named arguments of a call.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

}  // namespace conclave::text::jinja
