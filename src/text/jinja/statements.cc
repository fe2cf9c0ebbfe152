#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace conclave::text::jinja {

Interpreter::Flow Interpreter::run(const std::vector<NodeId>& body) {
  for (const NodeId id : body) {
    if (const Flow flow = run(id); flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run(NodeId id) {
  const Runtime::Nested nested(rt_);
  rt_.step();
  const Node& n = node(id);
  at(n);
  switch (n.type) {
    case NodeType::kData:
      write(n.value.text());
      break;
    case NodeType::kPrint: {
      const Value value = eval(n.a);
      if (value.is_string()) {
        write(value.text());
      } else {
        write(to_text(rt_, value));
      }
      break;
    }
    case NodeType::kIf:
      return run_if(n);
    case NodeType::kFor:
      return run_for(n, eval(n.b), 0);
    case NodeType::kSet:
      assign(n.a, eval(n.b));
      break;
    case NodeType::kSetBlock:
      run_set_block(n);
      break;
    case NodeType::kMacro:
      scope_->set(n.name, make_macro(id, n, ast_.names[static_cast<std::size_t>(n.name)]));
      break;
    case NodeType::kCallBlock: {
      const Value caller = make_macro(id, n, "caller");
      write(to_text(rt_, eval_call(node(n.a), &caller)));
      break;
    }
    case NodeType::kFilterBlock:
      run_filter_block(n);
      break;
    case NodeType::kWith:
      return run_with(n);
    case NodeType::kScope: {
      const InScope in(*this, scope_);
      return run(n.body);
    }
    case NodeType::kBreak:
      return Flow::kBreak;
    case NodeType::kContinue:
      return Flow::kContinue;
    default:
      CONCLAVE_CHECK(false, "node {} is no statement", static_cast<int>(n.type));
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_if(const Node& n) {
  if (truth(eval(n.a))) return run(n.body);
  for (const NodeId id : n.items) {
    rt_.step();
    if (truth(eval(node(id).a))) return run(node(id).body);
  }
  return run(n.orelse);
}

// What gives the items of a loop one after the other, those that its `if` lets through.
std::function<std::optional<Value>()> Interpreter::items_of(const Node& n, const Value& iterable,
                                                            LoopObject& loop) {
  auto items = std::make_shared<std::vector<Value>>(iterate(rt_, iterable));
  auto next = std::make_shared<std::size_t>(0);
  if (n.c == kNoNode) {
    loop.known_length = items->size();
    return [items, next]() -> std::optional<Value> {
      if (*next == items->size()) return std::nullopt;
      return (*items)[(*next)++];
    };
  }
  return [this, items, next, &n, outer = scope_]() -> std::optional<Value> {
    while (*next < items->size()) {
      const Value& item = (*items)[(*next)++];
      const InScope in(*this, outer);
      assign(n.a, item);
      if (truth(eval(n.c))) return item;
    }
    return std::nullopt;
  };
}

Interpreter::Flow Interpreter::run_for(const Node& n, const Value& iterable, int depth0) {
  const auto loop = std::make_shared<LoopObject>();
  loop->depth = iterable.depth() + 1;
  loop->depth0 = depth0;
  loop->next = items_of(n, iterable, *loop);
  if (n.flag) {
    loop->statement = static_cast<NodeId>(&n - ast_.nodes.data());
    loop->scope = scope_;
    capture(scope_);
  }
  struct Finish {
    LoopObject& loop;
    ~Finish() {
      loop.next = [] { return std::nullopt; };
    }
  } finish{*loop};
  const Value loop_value = rt_.checked(Value(Kind::kLoop, loop));
  bool any = false;
  while (loop->advance()) {
    any = true;
    const Flow flow = run_round(n, *loop, loop_value);
    if (flow == Flow::kBreak) break;
  }
  if (!any && !n.orelse.empty()) {
    const InScope in(*this, scope_);
    return run(n.orelse);
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_round(const Node& n, LoopObject& loop, const Value& loop_value) {
  rt_.step();
  const InScope in(*this, scope_);
  assign(n.a, *loop.current);
  if (loop_name_ >= 0) scope_->set(loop_name_, loop_value);
  return run(n.body);
}

void Interpreter::run_set_block(const Node& n) {
  Value value;
  {
    const InScope in(*this, scope_);
    MarkedText text = captured([&] { run(n.body); });
    value = rt_.make_string(std::move(text));
    if (n.b != kNoNode) {
      const Value* const before = std::exchange(block_input_, &value);
      Value filtered = eval(n.b);
      block_input_ = before;
      value = std::move(filtered);
    }
  }
  assign(n.a, value);
}

void Interpreter::run_filter_block(const Node& n) {
  const InScope in(*this, scope_);
  MarkedText text = captured([&] { run(n.body); });
  const Value value = rt_.make_string(std::move(text));
  const Value* const before = std::exchange(block_input_, &value);
  const Value filtered = eval(n.a);
  block_input_ = before;
  write(to_text(rt_, filtered));
}

Interpreter::Flow Interpreter::run_with(const Node& n) {
  Scope* const outer = scope_;
  const InScope in(*this, outer);
  Scope* const inner = scope_;
  for (std::size_t i = 0; i < n.items.size(); i += 2) {
    scope_ = outer;
    const Value value = eval(n.items[i + 1]);
    scope_ = inner;
    assign(n.items[i], value);
  }
  return run(n.body);
}

void Interpreter::assign(NodeId target, const Value& value) {
  const Node& n = node(target);
  at(n);
  if (n.type == NodeType::kName) {
    scope_->set(n.name, value);
    return;
  }
  if (n.type == NodeType::kNamespaceTarget) {
    const Value object = eval_name(n);
    if (!object.is(Kind::kNamespace)) {
      rt_.error("cannot assign attribute on non-namespace object");
    }
    rt_.charge(sizeof(Value));
    object.as<NamespaceObject>().set(n.text, value);
    return;
  }
  if (!is_iterable(value)) {
    rt_.error("cannot unpack non-iterable {} object", type_name(value));
  }
  const std::vector<Value> items = iterate(rt_, value);
  if (items.size() > n.items.size()) {
    rt_.error("too many values to unpack (expected {})", n.items.size());
  }
  if (items.size() < n.items.size()) {
    rt_.error("not enough values to unpack (expected {}, got {})", n.items.size(), items.size());
  }
  for (std::size_t i = 0; i < items.size(); ++i) assign(n.items[i], items[i]);
}

}  // namespace conclave::text::jinja
