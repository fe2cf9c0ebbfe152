#include "text/jinja/interpreter.h"

namespace conclave::text::jinja {
namespace {

constexpr std::pair<std::string_view, Global> kGlobals[] = {
    {"range", Global::kRange},
    {"dict", Global::kDict},
    {"namespace", Global::kNamespace},
    {"cycler", Global::kCycler},
    {"joiner", Global::kJoiner},
    {"lipsum", Global::kLipsum},
    {"raise_exception", Global::kRaiseException},
    {"strftime_now", Global::kStrftimeNow}};

}  // namespace

Interpreter::Interpreter(const Ast& ast, Runtime& rt, const Variables& variables,
                         const std::tm& now)
    : ast_(ast), rt_(rt), now_(now) {
  scope_ = open_scope(nullptr);
  const auto id = [&](std::string_view name) {
    const auto found = ast_.name_ids.find(std::string(name));
    return found == ast_.name_ids.end() ? NameId{-1} : found->second;
  };
  for (const auto& [name, which] : kGlobals) {
    if (id(name) < 0) continue;
    auto function = std::make_shared<FunctionObject>();
    function->which = which;
    scope_->set(id(name), Value(Kind::kFunction, std::move(function)));
  }
  for (const auto& [name, value] : variables) {
    if (id(name) >= 0) scope_->set(id(name), value);
  }
  loop_name_ = id("loop");
  caller_name_ = id("caller");
  kwargs_name_ = id("kwargs");
  varargs_name_ = id("varargs");
  scope_ = open_scope(scope_);
}

Interpreter::~Interpreter() {
  // Namespaces are the only way to a cycle; each is still held here, so that nothing recurses.
  scopes_.clear();
  for (const auto& object : namespaces_) object->attributes.clear();
}

MarkedText Interpreter::render() {
  return captured([this] { run(ast_.body); });
}

Scope* Interpreter::open_scope(Scope* parent) {
  Scope* scope = nullptr;
  if (free_scopes_.empty()) {
    rt_.charge(sizeof(Scope) + 64);
    scopes_.push_back(std::make_unique<Scope>());
    scope = scopes_.back().get();
  } else {
    scope = free_scopes_.back();
    free_scopes_.pop_back();
  }
  scope->parent = parent;
  return scope;
}

void Interpreter::close_scope(Scope* scope) {
  if (scope->captured) return;
  scope->variables.clear();
  free_scopes_.push_back(scope);
}

void Interpreter::capture(Scope* scope) {
  for (; scope != nullptr && !scope->captured; scope = scope->parent) scope->captured = true;
}

void Interpreter::write(const MarkedText& text) {
  rt_.charge(text.size());
  out_->append(text);
  rt_.check_output(out_->size());
}

}  // namespace conclave::text::jinja
