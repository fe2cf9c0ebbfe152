#include "text/jinja/macro.h"

namespace conclave::text::jinja {

std::optional<Value> macro_attribute(const Value& macro, std::string_view name) {
  const auto& object = macro.as<MacroObject>();
  if (name == "name") return Value::string(object.name, Origin::kTemplate);
  if (name == "caller") return Value::boolean(object.uses.caller);
  if (name == "catch_kwargs") return Value::boolean(object.uses.kwargs);
  if (name == "catch_varargs") return Value::boolean(object.uses.varargs);
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const std::string& parameter : object.parameters) {
    names.push_back(Value::string(parameter, Origin::kTemplate));
  }
  return Value::tuple(std::move(names));
}

}  // namespace conclave::text::jinja
