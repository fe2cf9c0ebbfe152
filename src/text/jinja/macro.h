// Variables and the macros that close over them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

// One level of variables. The interpreter owns all scopes; those that a macro was made in live as
// long as it.
struct Scope {
  Scope* parent = nullptr;
  bool captured = false;  // a macro may come back to it
  std::vector<std::pair<NameId, Value>> variables;

  Value* find(NameId name) {
    for (auto& [key, value] : variables) {
      if (key == name) return &value;
    }
    return nullptr;
  }
  void set(NameId name, Value value) {
    if (Value* const place = find(name)) {
      *place = std::move(value);
    } else {
      variables.emplace_back(name, std::move(value));
    }
  }
};

struct MacroObject final : Object {
  NodeId node = kNoNode;  // kMacro or kCallBlock
  Scope* scope = nullptr;
  std::string name;  // "caller" for the body of a call block
  std::vector<std::string> parameters;
  MacroUses uses;
};

// name, arguments, caller, catch_kwargs, catch_varargs.
std::optional<Value> macro_attribute(const Value& macro, std::string_view name);

}  // namespace conclave::text::jinja
