// Items, attributes, slices, lengths and iteration.
#include <algorithm>
#include <optional>

#include "text/jinja/loop.h"
#include "text/jinja/macro.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/utf8.h"

namespace conclave::text::jinja {
namespace {

// How jinja2 names an object in its messages about attributes.
std::string owner_name(const Value& object) {
  if (object.is(Kind::kNone)) return "None";
  switch (object.kind()) {
    case Kind::kNamespace:
      return "jinja2.utils.Namespace object";
    case Kind::kMacro:
      return "jinja2.runtime.Macro object";
    case Kind::kLoop:
      return "jinja2.runtime.LoopContext object";
    case Kind::kCycler:
      return "jinja2.utils.Cycler object";
    case Kind::kJoiner:
      return "jinja2.utils.Joiner object";
    default:
      return std::string(type_name(object)) + " object";
  }
}

Value missing(Runtime& rt, const Value& object, const Value& key) {
  auto why = std::make_shared<UndefinedObject>();
  why->reason = UndefinedObject::Reason::kAttribute;
  why->owner = owner_name(object);
  why->element = !key.is_string();
  why->text = key.is_string() ? std::string(key.bytes()) : std::string(to_text(rt, key).view());
  return {Kind::kUndefined, std::move(why)};
}

Value missing(const Value& object, std::string_view name) {
  auto why = std::make_shared<UndefinedObject>();
  why->reason = UndefinedObject::Reason::kAttribute;
  why->owner = owner_name(object);
  why->text = name;
  return {Kind::kUndefined, std::move(why)};
}

Value unsafe(const Value& object, std::string_view name) {
  auto why = std::make_shared<UndefinedObject>();
  why->reason = UndefinedObject::Reason::kUnsafe;
  why->owner = type_name(object);
  why->text = name;
  return {Kind::kUndefined, std::move(why)};
}

// What getattr() finds, before items: methods and the attributes of jinja2's own objects. Nothing
// where Python raises AttributeError.
std::optional<Value> python_attribute(Runtime& rt, const Value& object, std::string_view name) {
  switch (find_method(object, name)) {
    case MethodAccess::kUnsafe:
      return unsafe(object, name);
    case MethodAccess::kYes: {
      auto method = std::make_shared<MethodObject>();
      method->self = object;
      method->name = name;
      method->depth = object.depth() + 1;
      return rt.checked(Value(Kind::kMethod, std::move(method)));
    }
    case MethodAccess::kNo:
      break;
  }
  switch (object.kind()) {
    case Kind::kNamespace: {
      const Value* const found = object.as<NamespaceObject>().find(name);
      return found != nullptr ? std::optional(*found) : std::nullopt;
    }
    case Kind::kLoop:
      return object.as<LoopObject>().attribute(rt, name);
    case Kind::kCycler: {
      const auto& cycler = object.as<CyclerObject>();
      if (name == "current") return cycler.items[cycler.position];
      if (name == "items") return Value::tuple(cycler.items);
      return std::nullopt;
    }
    case Kind::kMacro:
      return macro_attribute(object, name);
    case Kind::kTuple:
      if (!object.as<SequenceObject>().group) return std::nullopt;
      if (name == "grouper") return object.items()[0];
      if (name == "list") return object.items()[1];
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

// object[key] where Python would not raise.
std::optional<Value> python_item(Runtime& rt, const Value& object, const Value& key) {
  if (object.is_undefined()) undefined_error(rt, object);
  if (object.is(Kind::kDict)) {
    const bool unhashable = key.is(Kind::kList) || key.is(Kind::kDict) || key.is(Kind::kDictView);
    const Value* const found = unhashable ? nullptr : dict_find(rt, object.dict(), key);
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  if (!key.is_integer() || (!object.is_string() && !object.is_sequence())) return std::nullopt;
  const std::size_t size = length(rt, object);
  std::int64_t index = as_index(rt, key);
  if (index < 0) index += static_cast<std::int64_t>(size);
  if (index < 0 || static_cast<std::size_t>(index) >= size) return std::nullopt;
  const auto at = static_cast<std::size_t>(index);
  if (!object.is_string()) return object.items()[at];
  const CharOffsets offsets(rt, object.str());
  return rt.make_string(object.text().slice(offsets[at], offsets[at + 1]));
}

}  // namespace

Value get_item(Runtime& rt, const Value& object, const Value& key) {
  if (auto item = python_item(rt, object, key)) return *std::move(item);
  if (key.is_string()) {
    if (auto attribute = python_attribute(rt, object, key.bytes())) return *std::move(attribute);
  }
  return missing(rt, object, key);
}

Value get_attribute(Runtime& rt, const Value& object, std::string_view name) {
  if (object.is_undefined()) undefined_error(rt, object);
  if (auto attribute = python_attribute(rt, object, name)) return *std::move(attribute);
  if (object.is(Kind::kDict)) {
    const Value* const found = object.dict().find(name);
    return found != nullptr ? *found : missing(object, name);
  }
  return missing(object, name);
}

CharOffsets::CharOffsets(Runtime& rt, const StringObject& string) : count_(string.length) {
  if (string.ascii()) return;
  rt.charge(8 * (string.length + 1));
  rt.step(string.text.size() / 16);
  offsets_.reserve(count_ + 1);
  const std::string_view bytes = string.text.view();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if ((bytes[i] & 0xc0) != 0x80) offsets_.push_back(i);
  }
  offsets_.push_back(bytes.size());
}

namespace {

struct SliceRange {
  std::int64_t start = 0, stop = 0, step = 1;
  std::size_t count = 0;
};

std::int64_t slice_part(Runtime& rt, const Value& value) {
  if (!value.is_integer()) {
    rt.error("slice indices must be integers or None or have an __index__ method");
  }
  return as_index(rt, value);
}

// Python's slice.indices.
SliceRange slice_range(Runtime& rt, std::size_t size, const Value& start, const Value& stop,
                       const Value& step) {
  SliceRange out;
  const auto n = static_cast<std::int64_t>(size);
  if (!step.is(Kind::kNone)) out.step = slice_part(rt, step);
  if (out.step == 0) rt.error("slice step cannot be zero");
  const bool down = out.step < 0;
  const auto clamp = [&](const Value& value, std::int64_t otherwise) {
    if (value.is(Kind::kNone)) return otherwise;
    std::int64_t at = slice_part(rt, value);
    if (at < 0) at += n;
    return std::clamp<std::int64_t>(at, down ? -1 : 0, down ? n - 1 : n);
  };
  out.start = clamp(start, down ? n - 1 : 0);
  out.stop = clamp(stop, down ? -1 : n);
  if (down ? out.start > out.stop : out.start < out.stop) {
    const std::int64_t distance = down ? out.start - out.stop : out.stop - out.start;
    const std::int64_t stride = down ? -out.step : out.step;
    out.count = static_cast<std::size_t>((distance - 1) / stride + 1);
  }
  return out;
}

}  // namespace

Value get_slice(Runtime& rt, const Value& object, const Value& start, const Value& stop,
                const Value& step) {
  if (object.is_undefined()) undefined_error(rt, object);
  if (!object.is_string() && !object.is_sequence()) {
    if (object.is(Kind::kDict)) rt.error("unhashable type: 'slice'");
    rt.error("'{}' object is not subscriptable", type_name(object));
  }
  const SliceRange range = slice_range(rt, length(rt, object), start, stop, step);
  const auto at = [&](std::size_t i) {
    return static_cast<std::size_t>(range.start + static_cast<std::int64_t>(i) * range.step);
  };
  if (!object.is_string()) {
    rt.charge_items(range.count + 2);
    std::vector<Value> items;
    items.reserve(range.count);
    for (std::size_t i = 0; i < range.count; ++i) items.push_back(object.items()[at(i)]);
    Value out = Value::sequence(object.kind(), std::move(items));
    if (object.is(Kind::kRange)) {
      const auto& of = object.as<SequenceObject>();
      auto& made = out.as<SequenceObject>();
      made.start = of.start + range.start * of.step;
      made.stop = of.start + range.stop * of.step;
      made.step = of.step * range.step;
    }
    return out;
  }
  const CharOffsets offsets(rt, object.str());
  const MarkedText& text = object.text();
  MarkedText out;
  if (range.step == 1) {
    const std::size_t begin = offsets[at(0)];
    out = text.slice(begin, range.count == 0 ? begin : offsets[at(range.count - 1) + 1]);
  } else {
    rt.step(range.count / 4);
    for (std::size_t i = 0; i < range.count; ++i) {
      out.append(text, offsets[at(i)], offsets[at(i) + 1]);
    }
  }
  rt.charge(out.size() + 64);
  return Value::string(std::move(out), object.str().markup);
}

std::size_t length(Runtime& rt, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return value.str().length;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return value.items().size();
    case Kind::kDict:
      return value.dict().entries.size();
    case Kind::kDictView:
      return value.as<DictViewObject>().dict.dict().entries.size();
    case Kind::kLoop:
      return value.as<LoopObject>().length(rt);
    default:
      rt.error("object of type '{}' has no len()", type_name(value));
  }
}

bool is_iterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kIterator:
    case Kind::kLoop:
      return true;
    default:
      return false;
  }
}

namespace {

std::vector<Value> characters(Runtime& rt, const Value& value) {
  const CharOffsets offsets(rt, value.str());
  rt.charge_items(offsets.count() * 4);
  std::vector<Value> out;
  out.reserve(offsets.count());
  for (std::size_t i = 0; i < offsets.count(); ++i) {
    out.push_back(rt.make_string(value.text().slice(offsets[i], offsets[i + 1])));
  }
  return out;
}

std::vector<Value> dict_items(Runtime& rt, const DictObject& dict, DictViewObject::Part part) {
  rt.charge_items(dict.entries.size() * 4);
  std::vector<Value> out;
  out.reserve(dict.entries.size());
  for (const auto& [key, value] : dict.entries) {
    switch (part) {
      case DictViewObject::Part::kKeys:
        out.push_back(key);
        break;
      case DictViewObject::Part::kValues:
        out.push_back(value);
        break;
      case DictViewObject::Part::kItems:
        out.push_back(Value::tuple({key, value}));
        break;
    }
  }
  return out;
}

}  // namespace

std::vector<Value> iterate(Runtime& rt, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return {};
    case Kind::kString:
      return characters(rt, value);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      rt.charge_items(value.items().size());
      return value.items();
    case Kind::kDict:
      return dict_items(rt, value.dict(), DictViewObject::Part::kKeys);
    case Kind::kDictView: {
      const auto& view = value.as<DictViewObject>();
      return dict_items(rt, view.dict.dict(), view.part);
    }
    case Kind::kIterator: {
      auto& iterator = value.as<IteratorObject>();
      rt.charge_items(iterator.items.size() - iterator.next);
      std::vector<Value> out(iterator.items.begin() + static_cast<std::ptrdiff_t>(iterator.next),
                             iterator.items.end());
      iterator.next = iterator.items.size();
      return out;
    }
    default:
      rt.error("'{}' object is not iterable", type_name(value));
  }
}

}  // namespace conclave::text::jinja
