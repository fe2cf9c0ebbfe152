#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace conclave::text::jinja {

Value Interpreter::eval(NodeId id) {
  const Runtime::Nested nested(rt_);
  rt_.step();
  const Node& n = node(id);
  switch (n.type) {
    case NodeType::kConstant:
      return n.value;
    case NodeType::kName:
      return eval_name(n);
    case NodeType::kTuple:
    case NodeType::kList:
      return eval_items(n);
    case NodeType::kDict:
      return eval_dict(n);
    case NodeType::kConditional:
      return eval_conditional(n);
    case NodeType::kOr:
    case NodeType::kAnd:
      return eval_logic(n);
    case NodeType::kNot:
      return Value::boolean(!truth(eval(n.a)));
    case NodeType::kNegative:
    case NodeType::kPositive: {
      const Value value = eval(n.a);
      at(n);
      return n.type == NodeType::kNegative ? negative(rt_, value) : positive(rt_, value);
    }
    case NodeType::kCompare:
      return eval_compare(n);
    case NodeType::kArithmetic:
      return eval_arithmetic(n);
    case NodeType::kConcat:
      return eval_concat(n);
    case NodeType::kAttribute: {
      const Value object = eval(n.a);
      at(n);
      return get_attribute(rt_, object, n.text);
    }
    case NodeType::kItem:
      return eval_item(n);
    case NodeType::kCall:
      return eval_call(n);
    case NodeType::kFilter:
      return eval_filter(n);
    case NodeType::kTest:
      return eval_test(n);
    case NodeType::kSlice:
      at(n);
      rt_.error("a slice cannot be a part of a key");
    default:
      CONCLAVE_CHECK(false, "node {} is no expression", static_cast<int>(n.type));
  }
  return {};
}

Value Interpreter::eval_name(const Node& n) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (const Value* const value = scope->find(n.name)) return *value;
  }
  return undefined_name(ast_.names[static_cast<std::size_t>(n.name)]);
}

Value Interpreter::eval_items(const Node& n) {
  std::vector<Value> items;
  items.reserve(n.items.size());
  for (const NodeId id : n.items) items.push_back(eval(id));
  at(n);
  return n.type == NodeType::kList ? rt_.make_list(std::move(items))
                                   : rt_.make_tuple(std::move(items));
}

Value Interpreter::eval_dict(const Node& n) {
  auto dict = std::make_shared<DictObject>();
  rt_.charge(64);
  for (std::size_t i = 0; i < n.items.size(); i += 2) {
    const Value key = eval(n.items[i]);
    const Value value = eval(n.items[i + 1]);
    at(n);
    dict_set(rt_, *dict, key, value);
  }
  return rt_.checked(Value::dict(std::move(dict)));
}

Value Interpreter::eval_conditional(const Node& n) {
  if (truth(eval(n.b))) return eval(n.a);
  if (n.c != kNoNode) return eval(n.c);
  return undefined_hint(
      fmt::format("the inline if-expression on line {} evaluated to false and no else section was "
                  "defined.",
                  n.position.line));
}

Value Interpreter::eval_logic(const Node& n) {
  Value value;
  for (const NodeId id : n.items) {
    value = eval(id);
    if (truth(value) == (n.type == NodeType::kOr)) break;
  }
  return value;
}

Value Interpreter::eval_compare(const Node& n) {
  Value left = eval(n.items[0]);
  for (std::size_t i = 0; i < n.operators.size(); ++i) {
    Value right = eval(n.items[i + 1]);
    at(n);
    if (!compare(rt_, n.operators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::eval_arithmetic(const Node& n) {
  Value left = eval(n.items[0]);
  for (std::size_t i = 0; i < n.operators.size(); ++i) {
    const Value right = eval(n.items[i + 1]);
    at(n);
    left = rt_.checked(arithmetic(rt_, n.operators[i], left, right));
  }
  return left;
}

Value Interpreter::eval_concat(const Node& n) {
  MarkedText out;
  for (const NodeId id : n.items) append_text(rt_, out, eval(id));
  at(n);
  return rt_.make_string(std::move(out));
}

Value Interpreter::eval_item(const Node& n) {
  const Value object = eval(n.a);
  const Node& key = node(n.b);
  if (key.type != NodeType::kSlice) {
    const Value value = eval(n.b);
    at(n);
    return get_item(rt_, object, value);
  }
  const auto part = [&](std::size_t i) {
    return key.items[i] == kNoNode ? Value::none() : eval(key.items[i]);
  };
  const Value start = part(0);
  const Value stop = part(1);
  const Value step = part(2);
  at(n);
  return get_slice(rt_, object, start, stop, step);
}

Value Interpreter::eval_filter(const Node& n) {
  const Value input = n.a == kNoNode ? *block_input_ : eval(n.a);
  const Args args = eval_arguments(n.call);
  at(n);
  return rt_.checked(apply_filter(rt_, n.text, input, args));
}

Value Interpreter::eval_test(const Node& n) {
  const Value input = eval(n.a);
  const Args args = eval_arguments(n.call);
  at(n);
  return Value::boolean(apply_test(rt_, n.text, input, args));
}

}  // namespace conclave::text::jinja
