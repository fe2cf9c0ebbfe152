// Runs a parsed template: a walk over its tree with budgets. One Interpreter renders once.
//
// Variables: for, macros, call and filter blocks, block set and with open a scope of their own; if
// does not. A scope sees the ones around it as they are at that moment, and macros see those that
// they were written in.
#pragma once

#include <ctime>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/loop.h"
#include "text/jinja/macro.h"
#include "text/jinja/runtime.h"

namespace conclave::text::jinja {

using Variables = std::vector<std::pair<std::string, Value>>;

class Interpreter {
 public:
  // `ast` outlives the interpreter. `now` is what strftime_now sees, in local time.
  Interpreter(const Ast& ast, Runtime& rt, const Variables& variables, const std::tm& now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;

  // Throws Error: kInvalidArgument where jinja2 would raise, and for raise_exception; kUnsupported
  // and kOutOfMemory where a budget ends.
  MarkedText render();

 private:
  enum class Flow : std::uint8_t { kNormal, kBreak, kContinue };

  const Node& node(NodeId id) const { return ast_.nodes[static_cast<std::size_t>(id)]; }
  void at(const Node& n) { rt_.position = n.position; }

  // Scopes (interpreter.cc).
  Scope* open_scope(Scope* parent);
  void close_scope(Scope* scope);
  void capture(Scope* scope);
  class InScope;

  // Output.
  void write(const MarkedText& text);
  // What `body` prints, instead of printing it.
  template <class Body>
  MarkedText captured(Body&& body);

  // Statements (statements.cc).
  Flow run(const std::vector<NodeId>& body);
  Flow run(NodeId id);
  Flow run_if(const Node& n);
  Flow run_for(const Node& n, const Value& iterable, int depth0);
  Flow run_round(const Node& n, LoopObject& loop, const Value& loop_value);
  std::function<std::optional<Value>()> items_of(const Node& n, const Value& iterable,
                                                 LoopObject& loop);
  void run_set_block(const Node& n);
  void run_filter_block(const Node& n);
  Flow run_with(const Node& n);
  void assign(NodeId target, const Value& value);

  // Expressions (expressions.cc).
  Value eval(NodeId id);
  Value eval_name(const Node& n);
  Value eval_items(const Node& n);
  Value eval_dict(const Node& n);
  Value eval_conditional(const Node& n);
  Value eval_logic(const Node& n);
  Value eval_compare(const Node& n);
  Value eval_arithmetic(const Node& n);
  Value eval_concat(const Node& n);
  Value eval_item(const Node& n);
  Value eval_filter(const Node& n);
  Value eval_test(const Node& n);

  // Calls (calls.cc).
  Value eval_call(const Node& n, const Value* caller = nullptr);
  Args eval_arguments(const CallArguments& call);
  Value call(const Value& callee, Args& args);
  Value call_macro(const Value& macro, Args& args);
  void bind_parameters(const MacroObject& macro, const Node& n, Args& args, Scope& scope);
  Value call_loop(const Value& loop, Args& args);
  Value call_global(Global which, Args& args);
  Value make_range(const Args& args);
  Value make_dict(const Args& args);
  Value make_namespace(const Args& args);
  Value make_cycler(const Args& args);
  Value strftime_now(const Args& args);
  Value make_macro(NodeId id, const Node& n, std::string name);

  const Ast& ast_;
  Runtime& rt_;
  const std::tm now_;
  std::deque<std::unique_ptr<Scope>> scopes_;
  std::vector<Scope*> free_scopes_;
  Scope* scope_ = nullptr;
  MarkedText* out_ = nullptr;
  const Value* block_input_ = nullptr;  // of the filters of a block
  NameId loop_name_ = -1, caller_name_ = -1, kwargs_name_ = -1, varargs_name_ = -1;
  std::vector<std::shared_ptr<NamespaceObject>> namespaces_;
};

// Leaves the scope again, also by exceptions.
class Interpreter::InScope {
 public:
  InScope(Interpreter& interpreter, Scope* parent)
      : interpreter_(interpreter), before_(interpreter.scope_) {
    interpreter_.scope_ = interpreter_.open_scope(parent);
  }
  ~InScope() {
    interpreter_.close_scope(interpreter_.scope_);
    interpreter_.scope_ = before_;
  }
  InScope(const InScope&) = delete;

 private:
  Interpreter& interpreter_;
  Scope* before_;
};

template <class Body>
MarkedText Interpreter::captured(Body&& body) {
  MarkedText text;
  struct Restore {
    Interpreter& interpreter;
    MarkedText* before;
    ~Restore() { interpreter.out_ = before; }
  } restore{*this, std::exchange(out_, &text)};
  body();
  return text;
}

}  // namespace conclave::text::jinja
