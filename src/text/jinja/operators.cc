// Comparison, hashing, membership, truth.
#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "text/jinja/printing.h"

namespace conclave::text::jinja {

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.str().markup ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kRange:
      return "range";
    case Kind::kDict:
      return "dict";
    case Kind::kDictView:
      switch (value.as<DictViewObject>().part) {
        case DictViewObject::Part::kKeys:
          return "dict_keys";
        case DictViewObject::Part::kValues:
          return "dict_values";
        case DictViewObject::Part::kItems:
          return "dict_items";
      }
      return "";
    case Kind::kIterator:
      return "generator";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kMacro:
      return "Macro";
    case Kind::kFunction:
      return "function";
    case Kind::kMethod:
      return "builtin_function_or_method";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kJoiner:
      return "Joiner";
  }
  return "";
}

Value undefined_name(std::string_view name) {
  auto object = std::make_shared<UndefinedObject>();
  object->text = name;
  return {Kind::kUndefined, std::move(object)};
}

Value undefined_hint(std::string_view hint) {
  auto object = std::make_shared<UndefinedObject>();
  object->reason = UndefinedObject::Reason::kHint;
  object->text = hint;
  return {Kind::kUndefined, std::move(object)};
}

std::string undefined_message(Runtime& rt, const Value& value) {
  if (value.identity() == nullptr) return "the value is undefined";
  const auto& why = value.as<UndefinedObject>();
  using Reason = UndefinedObject::Reason;
  if (why.reason == Reason::kHint) return why.text;
  const std::string shown = why.element ? why.text : std::string(repr_text(rt, why.text));
  if (why.reason == Reason::kName) return shown + " is undefined";
  if (why.reason == Reason::kUnsafe) {
    return fmt::format("access to attribute {} of '{}' object is unsafe.", shown, why.owner);
  }
  return why.element ? fmt::format("{} has no element {}", why.owner, shown)
                     : fmt::format("'{}' has no attribute {}", why.owner, shown);
}

void undefined_error(Runtime& rt, const Value& value) {
  rt.error("{}", undefined_message(rt, value));
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.real() != 0;
    case Kind::kString:
      return !value.bytes().empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return !value.items().empty();
    case Kind::kDict:
      return !value.dict().entries.empty();
    case Kind::kDictView:
      return !value.as<DictViewObject>().dict.dict().entries.empty();
    default:
      return true;
  }
}

namespace {

// -1, 0, 1, or 2 where one is not a number.
int compare_numbers(const Value& a, const Value& b) {
  const auto order = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; };
  const bool small_a = !a.is(Kind::kFloat) && !a.is(Kind::kBigInt);
  const bool small_b = !b.is(Kind::kFloat) && !b.is(Kind::kBigInt);
  if (small_a && small_b) return order(a.integer(), b.integer());
  if (!a.is(Kind::kFloat) && !b.is(Kind::kFloat)) {
    return BigInt::compare(as_big_int(a), as_big_int(b));
  }
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) return order(a.real(), b.real());
  if (b.is(Kind::kFloat)) {
    if (!std::isfinite(b.real())) return order(0.0, b.real());
    const int whole = BigInt::compare(as_big_int(a), BigInt::from_double(b.real()));
    return whole != 0 ? whole : order(std::trunc(b.real()), b.real());
  }
  const int reversed = compare_numbers(b, a);
  return reversed == 2 ? 2 : -reversed;
}

bool equal_dicts(Runtime& rt, const DictObject& a, const DictObject& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* const other = dict_find(rt, b, key);
    if (other == nullptr || !equals(rt, value, *other)) return false;
  }
  return true;
}

bool equal_items(Runtime& rt, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!equals(rt, a[i], b[i])) return false;
  }
  return true;
}

const char* symbol(Operator op) {
  switch (op) {
    case Operator::kLess:
      return "<";
    case Operator::kLessEqual:
      return "<=";
    case Operator::kGreater:
      return ">";
    default:
      return ">=";
  }
}

bool holds(Operator op, int order) {
  switch (op) {
    case Operator::kLess:
      return order == -1;
    case Operator::kLessEqual:
      return order == -1 || order == 0;
    case Operator::kGreater:
      return order == 1;
    default:
      return order == 1 || order == 0;
  }
}

bool ordered(Runtime& rt, Operator op, const Value& a, const Value& b) {
  rt.step();
  if (a.is_undefined()) undefined_error(rt, a);
  if (b.is_undefined()) undefined_error(rt, b);
  if (a.is_number() && b.is_number()) return holds(op, compare_numbers(a, b));
  if (a.is_string() && b.is_string()) {
    rt.step(std::min(a.bytes().size(), b.bytes().size()) / 64);
    const int order = a.bytes().compare(b.bytes());
    return holds(op, order < 0 ? -1 : order > 0 ? 1 : 0);
  }
  const bool lists = a.kind() == b.kind() && (a.is(Kind::kList) || a.is(Kind::kTuple));
  if (!lists) {
    rt.error("'{}' not supported between instances of '{}' and '{}'", symbol(op), type_name(a),
             type_name(b));
  }
  const auto& x = a.items();
  const auto& y = b.items();
  for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
    if (!equals(rt, x[i], y[i])) return ordered(rt, op, x[i], y[i]);
  }
  return holds(op, x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0);
}

}  // namespace

bool equals(Runtime& rt, const Value& a, const Value& b) {
  rt.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      rt.step(std::min(a.bytes().size(), b.bytes().size()) / 64);
      return a.bytes() == b.bytes();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return a.identity() == b.identity() || equal_items(rt, a.items(), b.items());
    case Kind::kDict:
      return a.identity() == b.identity() || equal_dicts(rt, a.dict(), b.dict());
    default:
      return a.identity() == b.identity();
  }
}

bool less(Runtime& rt, const Value& a, const Value& b) {
  return ordered(rt, Operator::kLess, a, b);
}

bool compare(Runtime& rt, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return equals(rt, a, b);
    case Operator::kNotEqual:
      return !equals(rt, a, b);
    case Operator::kIn:
      return contains(rt, a, b);
    case Operator::kNotIn:
      return !contains(rt, a, b);
    default:
      return ordered(rt, op, a, b);
  }
}

std::vector<std::size_t> sorted_order(Runtime& rt, const std::vector<Value>& keys, bool reverse) {
  rt.charge_items(keys.size());
  std::vector<std::size_t> order(keys.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // A merge sort of our own: the standard one may misbehave where < is no order (nan).
  std::vector<std::size_t> next(keys.size());
  for (std::size_t width = 1; width < order.size(); width *= 2) {
    for (std::size_t begin = 0; begin < order.size(); begin += 2 * width) {
      std::size_t left = begin, to = begin;
      const std::size_t middle = std::min(begin + width, order.size());
      const std::size_t end = std::min(begin + 2 * width, order.size());
      std::size_t right = middle;
      while (left < middle || right < end) {
        bool take_right = left == middle;
        if (left < middle && right < end) {
          const Value& x = keys[order[left]];
          const Value& y = keys[order[right]];
          take_right = reverse ? less(rt, x, y) : less(rt, y, x);
        }
        next[to++] = take_right ? order[right++] : order[left++];
      }
    }
    order.swap(next);
  }
  return order;
}

std::size_t hash_value(Runtime& rt, const Value& value) {
  rt.step();
  switch (value.kind()) {
    case Kind::kBool:
    case Kind::kInt:
      return std::hash<std::int64_t>{}(value.integer());
    case Kind::kBigInt:
      return std::hash<double>{}(value.as<BigIntObject>().value.to_double());
    case Kind::kFloat:
      if (std::trunc(value.real()) == value.real() && std::fabs(value.real()) < 9e18) {
        return std::hash<std::int64_t>{}(static_cast<std::int64_t>(value.real()));
      }
      return std::hash<double>{}(value.real());
    case Kind::kString:
      return std::hash<std::string_view>{}(value.bytes());
    case Kind::kNone:
    case Kind::kUndefined:
      return 7;
    case Kind::kTuple: {
      std::size_t hash = 1;
      for (const Value& item : value.items()) hash = hash * 1000003 ^ hash_value(rt, item);
      return hash;
    }
    case Kind::kList:
    case Kind::kDict:
    case Kind::kDictView:
      rt.error("unhashable type: '{}'", type_name(value));
    default:
      return std::hash<const void*>{}(value.identity());
  }
}

const Value* dict_find(Runtime& rt, const DictObject& dict, const Value& key) {
  const auto [begin, end] = dict.index.equal_range(hash_value(rt, key));
  for (auto at = begin; at != end; ++at) {
    const auto& [name, value] = dict.entries[at->second];
    if (equals(rt, name, key)) return &value;
  }
  return nullptr;
}

void dict_set(Runtime& rt, DictObject& dict, const Value& key, const Value& value) {
  if (const Value* const place = dict_find(rt, dict, key)) {
    const_cast<Value&>(*place) = value;  // the dict is being made and is ours
    return;
  }
  rt.charge_items(4);
  dict.index.emplace(hash_value(rt, key), dict.entries.size());
  dict.entries.emplace_back(key, value);
}

bool contains(Runtime& rt, const Value& item, const Value& container) {
  switch (container.kind()) {
    case Kind::kString:
      if (!item.is_string()) {
        rt.error("'in <string>' requires string as left operand, not {}", type_name(item));
      }
      rt.step(container.bytes().size() / 64);
      return container.bytes().find(item.bytes()) != std::string_view::npos;
    case Kind::kDict:
      return dict_find(rt, container.dict(), item) != nullptr;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange: {
      const auto& items = container.items();
      return std::any_of(items.begin(), items.end(),
                         [&](const Value& other) { return equals(rt, other, item); });
    }
    case Kind::kIterator: {
      auto& iterator = container.as<IteratorObject>();
      while (iterator.next < iterator.items.size()) {
        if (equals(rt, iterator.items[iterator.next++], item)) return true;
      }
      return false;
    }
    case Kind::kUndefined:
      return false;
    case Kind::kDictView: {
      const std::vector<Value> items = iterate(rt, container);
      return std::any_of(items.begin(), items.end(),
                         [&](const Value& other) { return equals(rt, other, item); });
    }
    default:
      rt.error("argument of type '{}' is not iterable", type_name(container));
  }
}

}  // namespace conclave::text::jinja
