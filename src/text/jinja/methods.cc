#include "text/jinja/methods.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/loop.h"
#include "text/jinja/operators.h"
#include "text/jinja/string_methods.h"

namespace conclave::text::jinja {
namespace {

template <std::size_t N>
bool any_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Attributes that every Python object has, or every container: hidden by the sandbox.
constexpr std::array<std::string_view, 32> kHidden = {"__class__",
                                                      "__doc__",
                                                      "__init__",
                                                      "__new__",
                                                      "__repr__",
                                                      "__str__",
                                                      "__eq__",
                                                      "__ne__",
                                                      "__lt__",
                                                      "__le__",
                                                      "__gt__",
                                                      "__ge__",
                                                      "__hash__",
                                                      "__dir__",
                                                      "__reduce__",
                                                      "__getattribute__",
                                                      "__setattr__",
                                                      "__delattr__",
                                                      "__sizeof__",
                                                      "__format__",
                                                      "__len__",
                                                      "__iter__",
                                                      "__getitem__",
                                                      "__contains__",
                                                      "__setitem__",
                                                      "__delitem__",
                                                      "__add__",
                                                      "__mul__",
                                                      "__rmul__",
                                                      "__reversed__",
                                                      "__init_subclass__",
                                                      "__subclasshook__"};
constexpr std::array<std::string_view, 5> kDictMethods = {"get", "items", "keys", "values", "copy"};
constexpr std::array<std::string_view, 5> kDictChanges = {"clear", "pop", "popitem", "setdefault",
                                                          "update"};
constexpr std::array<std::string_view, 8> kListChanges = {"append", "clear", "pop",    "reverse",
                                                          "insert", "sort",  "extend", "remove"};

Value dict_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  if (name == "get") {
    const Arguments a(rt, "get", args, {"key", "default"}, 1);
    const Value* const found = dict_find(rt, self.dict(), a[0]);
    if (found != nullptr) return *found;
    return a.has(1) ? a[1] : Value::none();
  }
  const Arguments a(rt, name, args, {});
  if (name == "copy") return self;
  auto view = std::make_shared<DictViewObject>();
  view->dict = self;
  view->depth = self.depth() + 1;
  view->part = name == "keys"     ? DictViewObject::Part::kKeys
               : name == "values" ? DictViewObject::Part::kValues
                                  : DictViewObject::Part::kItems;
  return rt.checked(Value(Kind::kDictView, std::move(view)));
}

Value sequence_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  if (name == "copy") {
    const Arguments a(rt, name, args, {});
    return self;
  }
  const Arguments a(rt, name, args, {"value", "start", "stop"}, 1);
  const auto& items = self.items();
  if (name == "count") {
    return Value::integer(std::count_if(items.begin(), items.end(),
                                        [&](const Value& item) { return equals(rt, item, a[0]); }));
  }
  const auto size = static_cast<std::int64_t>(items.size());
  const auto place = [&](std::size_t i, std::int64_t otherwise) {
    const std::int64_t at = a.index(i, otherwise);
    return at < 0 ? std::max<std::int64_t>(0, at + size) : at;
  };
  const std::int64_t stop = std::min(place(2, size), size);
  for (std::int64_t i = place(1, 0); i < stop; ++i) {
    if (equals(rt, items[static_cast<std::size_t>(i)], a[0])) return Value::integer(i);
  }
  rt.error("the value is not in {}", type_name(self));
}

Value number_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {});
  if (name == "bit_length") {
    return Value::integer(static_cast<std::int64_t>(as_big_int(self).bits()));
  }
  return Value::boolean(std::floor(self.real()) == self.real() && std::isfinite(self.real()));
}

Value loop_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  auto& loop = self.as<LoopObject>();
  if (name == "cycle") return loop.cycle(rt, args.positional);
  return Value::boolean(loop.changed(rt, args.positional));
}

Value cycler_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {});
  auto& cycler = self.as<CyclerObject>();
  if (name == "reset") {
    cycler.position = 0;
    return Value::none();
  }
  Value out = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return out;
}

}  // namespace

MethodAccess find_method(const Value& object, std::string_view name) {
  if (name.starts_with("__") && !object.is(Kind::kNamespace) && any_of(name, kHidden)) {
    return MethodAccess::kUnsafe;
  }
  const auto yes = [](bool found) { return found ? MethodAccess::kYes : MethodAccess::kNo; };
  switch (object.kind()) {
    case Kind::kString:
      return yes(has_string_method(name));
    case Kind::kDict:
      if (any_of(name, kDictChanges) || name == "fromkeys") return MethodAccess::kUnsafe;
      return yes(any_of(name, kDictMethods));
    case Kind::kList:
      if (any_of(name, kListChanges)) return MethodAccess::kUnsafe;
      return yes(name == "count" || name == "index" || name == "copy");
    case Kind::kTuple:
    case Kind::kRange:
      return yes(name == "count" || name == "index");
    case Kind::kInt:
    case Kind::kBigInt:
      return yes(name == "bit_length");
    case Kind::kFloat:
      return yes(name == "is_integer");
    case Kind::kLoop:
      return yes(name == "cycle" || name == "changed");
    case Kind::kCycler:
      return yes(name == "next" || name == "reset");
    default:
      return MethodAccess::kNo;
  }
}

Value call_method(Runtime& rt, const Value& object, std::string_view name, Args& args) {
  rt.step();
  switch (object.kind()) {
    case Kind::kString:
      return call_string_method(rt, object, name, args);
    case Kind::kDict:
      return dict_method(rt, object, name, args);
    case Kind::kLoop:
      return loop_method(rt, object, name, args);
    case Kind::kCycler:
      return cycler_method(rt, object, name, args);
    case Kind::kInt:
    case Kind::kBigInt:
    case Kind::kFloat:
      return number_method(rt, object, name, args);
    default:
      return sequence_method(rt, object, name, args);
  }
}

}  // namespace conclave::text::jinja
