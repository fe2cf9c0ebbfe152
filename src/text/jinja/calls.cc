// Calls: of methods, macros, recursive loops and globals.
#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace conclave::text::jinja {

namespace {

constexpr std::int64_t kMaxRange = 100'000;  // jinja2's sandbox

}  // namespace

Args Interpreter::eval_arguments(const CallArguments& call) {
  Args out;
  out.positional.reserve(call.positional.size());
  for (const NodeId id : call.positional) out.positional.push_back(eval(id));
  for (const auto& [name, id] : call.named) out.named.emplace_back(name, eval(id));
  if (call.list != kNoNode) {
    for (Value& value : iterate(rt_, eval(call.list))) out.positional.push_back(std::move(value));
  }
  if (call.dict == kNoNode) return out;
  const Value dict = eval(call.dict);
  if (!dict.is(Kind::kDict)) rt_.error("argument after ** must be a mapping");
  for (const auto& [key, value] : dict.dict().entries) {
    if (!key.is_string()) rt_.error("keywords must be strings");
    rt_.charge_items(4);
    for (const auto& [name, other] : out.named) {
      if (name == key.bytes()) rt_.error("got multiple values for keyword argument '{}'", name);
    }
    out.named.emplace_back(key.bytes(), value);
  }
  return out;
}

Value Interpreter::eval_call(const Node& n, const Value* caller) {
  const Node& callee = node(n.a);
  const auto arguments = [&] {
    Args args = eval_arguments(n.call);
    if (caller != nullptr) args.named.emplace_back("caller", *caller);
    at(n);
    return args;
  };
  if (callee.type == NodeType::kAttribute) {
    const Value object = eval(callee.a);
    at(callee);
    if (find_method(object, callee.text) == MethodAccess::kYes) {
      Args args = arguments();
      return rt_.checked(call_method(rt_, object, callee.text, args));
    }
    const Value function = get_attribute(rt_, object, callee.text);
    Args args = arguments();
    return call(function, args);
  }
  const Value function = eval(n.a);
  Args args = arguments();
  return call(function, args);
}

Value Interpreter::call(const Value& callee, Args& args) {
  switch (callee.kind()) {
    case Kind::kUndefined:
      undefined_error(rt_, callee);
    case Kind::kMethod: {
      const auto& method = callee.as<MethodObject>();
      return rt_.checked(call_method(rt_, method.self, method.name, args));
    }
    case Kind::kMacro:
      return call_macro(callee, args);
    case Kind::kLoop:
      return call_loop(callee, args);
    case Kind::kFunction:
      return call_global(callee.as<FunctionObject>().which, args);
    case Kind::kJoiner: {
      auto& joiner = callee.as<JoinerObject>();
      if (std::exchange(joiner.used, true)) return joiner.separator;
      return Value::string("", Origin::kTemplate);
    }
    default:
      rt_.error("'{}' object is not callable", type_name(callee));
  }
}

Value Interpreter::make_macro(NodeId id, const Node& n, std::string name) {
  auto macro = std::make_shared<MacroObject>();
  rt_.charge(sizeof(MacroObject));
  macro->node = id;
  macro->scope = scope_;
  macro->name = std::move(name);
  macro->uses = n.uses;
  for (const NameId parameter : n.parameters) {
    macro->parameters.push_back(ast_.names[static_cast<std::size_t>(parameter)]);
  }
  capture(scope_);
  return {Kind::kMacro, std::move(macro)};
}

// Missing parameters take their defaults, which see the parameters before them.
void Interpreter::bind_parameters(const MacroObject& macro, const Node& n, Args& args,
                                  Scope& scope) {
  const std::size_t count = n.parameters.size();
  const auto take_named = [&](std::string_view name) -> std::optional<Value> {
    for (auto at = args.named.begin(); at != args.named.end(); ++at) {
      if (at->first != name) continue;
      Value value = std::move(at->second);
      args.named.erase(at);
      return value;
    }
    return std::nullopt;
  };
  std::vector<bool> given(count, false);
  bool has_caller = false;
  for (std::size_t i = 0; i < count; ++i) {
    has_caller = has_caller || macro.parameters[i] == "caller";
    std::optional<Value> value;
    if (i < args.positional.size()) {
      value = args.positional[i];
    } else {
      value = take_named(macro.parameters[i]);
    }
    given[i] = value.has_value();
    scope.set(n.parameters[i], value ? *value : undefined_name(macro.parameters[i]));
  }
  if (macro.uses.caller && !has_caller) {
    const auto caller = take_named("caller");
    scope.set(caller_name_,
              caller && !caller->is(Kind::kNone) ? *caller : undefined_hint("No caller defined"));
  }
  if (macro.uses.kwargs) {
    auto named = std::make_shared<DictObject>();
    for (const auto& [name, value] : args.named) {
      dict_set(rt_, *named, Value::string(name, Origin::kTemplate), value);
    }
    scope.set(kwargs_name_, rt_.checked(Value::dict(std::move(named))));
  } else if (!args.named.empty()) {
    rt_.error("macro '{}' takes no keyword argument '{}'", macro.name, args.named[0].first);
  }
  const bool more = args.positional.size() > count;
  if (macro.uses.varargs) {
    scope.set(varargs_name_,
              rt_.make_tuple(more ? std::vector<Value>(args.positional.begin() +
                                                           static_cast<std::ptrdiff_t>(count),
                                                       args.positional.end())
                                  : std::vector<Value>{}));
  } else if (more) {
    rt_.error("macro '{}' takes not more than {} argument(s)", macro.name, count);
  }
  const std::size_t required = count - n.items.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (given[i]) continue;
    scope.set(n.parameters[i], i < required
                                   ? undefined_hint(fmt::format("parameter '{}' was not provided",
                                                                macro.parameters[i]))
                                   : eval(n.items[i - required]));
  }
}

Value Interpreter::call_macro(const Value& value, Args& args) {
  const Runtime::Nested nested(rt_);
  const auto& macro = value.as<MacroObject>();
  const Node& n = node(macro.node);
  const Position position = rt_.position;
  const InScope in(*this, macro.scope);
  bind_parameters(macro, n, args, *scope_);
  MarkedText text = captured([&] { run(n.body); });
  rt_.position = position;
  return rt_.make_string(std::move(text));
}

Value Interpreter::call_loop(const Value& value, Args& args) {
  const auto& loop = value.as<LoopObject>();
  if (loop.statement == kNoNode) {
    rt_.error("The loop must have the 'recursive' marker to be called recursively.");
  }
  const Arguments a(rt_, "loop", args, {"iterable"}, 1);
  const Runtime::Nested nested(rt_);
  Scope* const before = std::exchange(scope_, loop.scope);
  struct Restore {
    Scope*& place;
    Scope* before;
    ~Restore() { place = before; }
  } restore{scope_, before};
  MarkedText text = captured([&] { run_for(node(loop.statement), a[0], loop.depth0 + 1); });
  return rt_.make_string(std::move(text));
}

Value Interpreter::call_global(Global which, Args& args) {
  switch (which) {
    case Global::kRange:
      return make_range(args);
    case Global::kDict:
      return make_dict(args);
    case Global::kNamespace:
      return make_namespace(args);
    case Global::kCycler:
      return make_cycler(args);
    case Global::kJoiner: {
      const Arguments a(rt_, "joiner", args, {"sep"});
      auto joiner = std::make_shared<JoinerObject>();
      joiner->separator = a.has(0) ? a[0] : Value::string(", ", Origin::kTemplate);
      joiner->depth = joiner->separator.depth() + 1;
      return rt_.checked(Value(Kind::kJoiner, std::move(joiner)));
    }
    case Global::kLipsum:
      rt_.unsupported("lipsum is not supported in chat templates");
    case Global::kStrftimeNow:
      return strftime_now(args);
    case Global::kRaiseException: {
      const Arguments a(rt_, "raise_exception", args, {"message"}, 1);
      rt_.error("the template refuses this conversation: {}", to_text(rt_, a[0]).view());
    }
  }
  return {};
}

Value Interpreter::make_range(const Args& args) {
  const Arguments a(rt_, "range", args, {"start", "stop", "step"}, 1);
  const std::int64_t start = a.has(1) ? a.index(0, 0) : 0;
  const std::int64_t stop = a.has(1) ? a.index(1, 0) : a.index(0, 0);
  const std::int64_t step = a.index(2, 1);
  if (step == 0) rt_.error("range() arg 3 must not be zero");
  // The bounds are below 2^62 in size, so that nothing overflows.
  const std::int64_t distance = step > 0 ? stop - start : start - stop;
  const std::int64_t stride = step > 0 ? step : -step;
  const std::int64_t count = distance <= 0 ? 0 : (distance - 1) / stride + 1;
  if (count > kMaxRange) {
    rt_.error("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
  }
  rt_.charge_items(static_cast<std::uint64_t>(count) + 2);
  std::vector<Value> items;
  items.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) items.push_back(Value::integer(start + i * step));
  Value out = Value::sequence(Kind::kRange, std::move(items));
  auto& range = out.as<SequenceObject>();
  range.start = start;
  range.stop = stop;
  range.step = step;
  return out;
}

Value Interpreter::make_dict(const Args& args) {
  if (args.positional.size() > 1) {
    rt_.error("dict expected at most 1 argument, got {}", args.positional.size());
  }
  auto dict = std::make_shared<DictObject>();
  rt_.charge(64);
  if (!args.positional.empty()) {
    const Value& source = args.positional[0];
    if (source.is(Kind::kDict)) {
      for (const auto& [key, value] : source.dict().entries) dict_set(rt_, *dict, key, value);
    } else {
      for (const Value& item : iterate(rt_, source)) {
        const std::vector<Value> pair = iterate(rt_, item);
        if (pair.size() != 2) {
          rt_.error("dictionary update sequence element has length {}; 2 is required", pair.size());
        }
        dict_set(rt_, *dict, pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) {
    dict_set(rt_, *dict, Value::string(name, Origin::kTemplate), value);
  }
  return rt_.checked(Value::dict(std::move(dict)));
}

Value Interpreter::make_namespace(const Args& args) {
  const Value dict = make_dict(args);
  auto object = std::make_shared<NamespaceObject>();
  rt_.charge(256);
  object->depth = 1;
  for (const auto& [key, value] : dict.dict().entries) {
    if (key.is_string()) object->attributes.emplace_back(key.bytes(), value);
  }
  namespaces_.push_back(object);
  return {Kind::kNamespace, std::move(object)};
}

Value Interpreter::make_cycler(const Args& args) {
  if (args.positional.empty()) rt_.error("at least one item has to be provided");
  auto cycler = std::make_shared<CyclerObject>();
  for (const Value& item : args.positional) {
    cycler->depth = std::max(cycler->depth, item.depth() + 1);
  }
  cycler->items = args.positional;
  return rt_.checked(Value(Kind::kCycler, std::move(cycler)));
}

Value Interpreter::strftime_now(const Args& args) {
  const Arguments a(rt_, "strftime_now", args, {"format"}, 1);
  const std::string format = a.text(0).bytes();
  if (format.empty()) return Value::string("", Origin::kTemplate);
  char buffer[4096];
  const std::size_t size = std::strftime(buffer, sizeof buffer, format.c_str(), &now_);
  if (size == 0 && format.find_first_not_of("%pPZz") != std::string::npos) {
    rt_.unsupported("strftime_now: a date of more than {} bytes", sizeof buffer);
  }
  return rt_.make_string(std::string(buffer, size));
}

}  // namespace conclave::text::jinja
