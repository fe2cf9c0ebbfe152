// The special variable of for loops.
#pragma once

#include <deque>
#include <functional>
#include <optional>

#include "text/jinja/ast.h"
#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

struct Scope;

// Items come one at a time, so that the `if` of a loop sees what earlier rounds did.
struct LoopObject final : Object {
  std::function<std::optional<Value>()> next;  // replaced by one that gives nothing at the end
  std::optional<std::size_t> known_length;
  std::int64_t index0 = -1;
  int depth0 = 0;
  std::deque<Value> ahead;  // pulled but not yet seen by the body
  std::optional<Value> before, current;
  std::optional<std::vector<Value>> last_changed;
  // For recursive loops: the statement, and where it stands.
  NodeId statement = kNoNode;
  Scope* scope = nullptr;

  // Moves on to the next item; false at the end.
  bool advance();
  std::size_t length(Runtime& rt);
  std::optional<Value> attribute(Runtime& rt, std::string_view name);
  bool changed(Runtime& rt, std::vector<Value> values);
  Value cycle(Runtime& rt, const std::vector<Value>& values) const;

 private:
  bool peek();
};

}  // namespace conclave::text::jinja
