#include "text/jinja/loop.h"

#include "text/jinja/operators.h"

namespace conclave::text::jinja {

bool LoopObject::peek() {
  if (!ahead.empty()) return true;
  std::optional<Value> value = next();
  if (!value) return false;
  ahead.push_back(*std::move(value));
  return true;
}

bool LoopObject::advance() {
  if (!peek()) return false;
  ++index0;
  before = std::move(current);
  current = std::move(ahead.front());
  ahead.pop_front();
  return true;
}

std::size_t LoopObject::length(Runtime& rt) {
  if (!known_length) {
    while (std::optional<Value> value = next()) {
      rt.charge_items(1);
      ahead.push_back(*std::move(value));
    }
    known_length = static_cast<std::size_t>(index0 + 1) + ahead.size();
  }
  return *known_length;
}

std::optional<Value> LoopObject::attribute(Runtime& rt, std::string_view name) {
  const auto left = [&] { return static_cast<std::int64_t>(length(rt)) - index0; };
  if (name == "index") return Value::integer(index0 + 1);
  if (name == "index0") return Value::integer(index0);
  if (name == "first") return Value::boolean(index0 == 0);
  if (name == "last") return Value::boolean(!peek());
  if (name == "length") return Value::integer(static_cast<std::int64_t>(length(rt)));
  if (name == "revindex") return Value::integer(left());
  if (name == "revindex0") return Value::integer(left() - 1);
  if (name == "depth") return Value::integer(depth0 + 1);
  if (name == "depth0") return Value::integer(depth0);
  if (name == "previtem") {
    return index0 == 0 || !before ? undefined_hint("there is no previous item") : *before;
  }
  if (name == "nextitem") {
    return peek() ? ahead.front() : undefined_hint("there is no next item");
  }
  return std::nullopt;
}

bool LoopObject::changed(Runtime& rt, std::vector<Value> values) {
  bool same = last_changed && last_changed->size() == values.size();
  for (std::size_t i = 0; same && i < values.size(); ++i) {
    same = equals(rt, values[i], (*last_changed)[i]);
  }
  if (same) return false;
  last_changed = std::move(values);
  return true;
}

Value LoopObject::cycle(Runtime& rt, const std::vector<Value>& values) const {
  if (values.empty()) rt.error("no items for cycling given");
  return values[static_cast<std::size_t>(index0) % values.size()];
}

}  // namespace conclave::text::jinja
